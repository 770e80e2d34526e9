//! Conversations on a session, or in a transaction, that is the caller's own.

use lock_proto::postgres::{AdvisoryKey, Answer, Ground, Mode, Own, Turn};
use lock_proto::{Fault, LockError};

use super::{duration, number, text};
use crate::entropy::Entropy;

/// No conversation has more questions.
const MOST: usize = 3;

/// A conversation ends, leaves no savepoint, and says that the lock is held only if it is.
pub(super) fn own(bytes: &[u8]) {
    let mut entropy = Entropy::new(bytes.to_vec());
    let key = AdvisoryKey::Single(number(&mut entropy).cast_signed());
    let mode = [Mode::Exclusive, Mode::Shared][entropy.pick(2)];
    let ground = [Ground::Session, Ground::Transaction][entropy.pick(2)];
    let timeout = (entropy.pick(2) == 1).then(|| duration(&mut entropy));
    let mut own = Own::new(key, mode, ground, timeout);
    let (mut depth, mut granted, mut questions) = (0, false, 0);
    let mut turn = own.begin();
    loop {
        turn = match turn {
            Turn::Ask(text) => {
                questions += 1;
                assert!(questions <= MOST, "it goes on for ever: {text}");
                depth = savepoints(depth, &text);
                let left = own.abandoned().map_or(depth, |text| savepoints(depth, &text));
                // What is being undone is already on its way.
                assert_eq!(left, 0, "abandoned after {text}");
                let answer = answer(&mut entropy);
                granted = matches!(&answer, Answer::Done(row) if says(row, "granted"));
                own.answered(answer)
            }
            Turn::Rest(rest) => {
                assert!(Some(rest) == timeout && depth == 0, "{rest:?}");
                granted = false;
                own.rested()
            }
            Turn::Over { result, last } => {
                let depth = last.map_or(depth, |text| savepoints(depth, &text));
                assert_eq!(depth, 0, "a savepoint is left after {result:?}");
                assert!(granted || result.is_err(), "held, and nobody granted it");
                break;
            }
        };
    }
    assert!(own.abandoned().is_none(), "nothing is left to be undone");
    assert!(matches!(own.answered(answer(&mut entropy)), Turn::Over { result: Err(_), .. }));
}

fn says(row: &[Option<String>], verdict: &str) -> bool {
    row.first().is_some_and(|column| column.as_deref() == Some(verdict))
}

fn answer(entropy: &mut Entropy) -> Answer {
    match entropy.pick(8) {
        0 => Answer::Expired,
        1 => Answer::Deadlock(text(entropy, 8)),
        2 => Answer::Failed(LockError::Backend(Fault::unknown("the connection broke"))),
        _ => {
            let mut column = || match entropy.pick(8) {
                0 => None,
                1 => Some(text(entropy, 8)),
                2 => Some("t".to_owned()),
                3 | 4 => Some("held".to_owned()),
                5 | 6 => Some("busy".to_owned()),
                _ => Some("granted".to_owned()),
            };
            let row = [column(), column(), column()];
            Answer::Done(row[..entropy.pick(4)].to_vec())
        }
    }
}

/// How many savepoints there are after `text`, which is carried out or, as a whole, not.
fn savepoints(depth: usize, text: &str) -> usize {
    text.split("; ").fold(depth, |depth, statement| match statement {
        "savepoint dlock_acquire" => depth + 1,
        "release savepoint dlock_acquire" => depth.checked_sub(1).expect("there is one"),
        "rollback to savepoint dlock_acquire" => {
            assert!(depth > 0, "there is no savepoint");
            depth
        }
        _ => depth,
    })
}
