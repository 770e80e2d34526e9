use lock_proto::file::{Command, FileLock, FileLockOptions, Identity, Record, Reply};
use lock_proto::{AcquireOptions, Demand, Event, Instant, LockName, Machine as _, Seed};

#[test]
fn a_record_says_who_holds_the_lock() {
    let bytes = written(b"", 1_763_701_200_123_456, "build-7", Some("nightly report"), "a/b");
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "distributed-lock 1\nfence 1763701200123456\nhost build-7\npid 4242\n\
         since 1763701200123456\nowner nightly report\nname a/b\nend\n"
    );
}

#[test]
fn what_is_written_is_read_again() {
    for text in
        ["", " ", "plain", "two\nlines", "\\u{41}", "\\", "\u{7f}\u{85}\u{9f}\t\0", "漢字 🦉"]
    {
        let record = Record::parse(&written(b"", 5, text, None, text)).unwrap();
        assert_eq!((record.host.as_str(), record.name.as_str()), (text, text));
        assert_eq!((record.fence, record.pid, record.since), (5, 4242, 5));
        assert_eq!(record.owner, None);
    }
    for owner in ["", " ", "\\", "\u{85}\t", "漢字 🦉"] {
        let record = Record::parse(&written(b"", 5, "h", Some(owner), "n")).unwrap();
        assert_eq!(record.owner.as_deref(), Some(owner));
    }
}

#[test]
fn a_shorter_record_over_a_longer_one_is_read_alone() {
    let longer = written(b"", 5, "host", Some("somebody with a long name"), &"x".repeat(300));
    let shorter = written(&longer, 6, "h", None, "n");
    let mut file = longer;
    file[..shorter.len()].copy_from_slice(&shorter);
    let record = Record::parse(&file).unwrap();
    assert_eq!((record.host.as_str(), record.name.as_str()), ("h", "n"));
    assert_eq!((record.fence, record.owner), (6, None));
}

#[test]
fn a_long_name_is_cut_between_its_letters() {
    for name in ["é".repeat(2000), format!("x{}", "é".repeat(2000)), "🦉".repeat(1000)] {
        let record = Record::parse(&written(b"", 5, "h", None, &name)).unwrap();
        assert!(name.starts_with(&record.name));
        assert!((509..=512).contains(&record.name.len()), "{}", record.name.len());
    }
}

#[test]
fn no_record_is_longer_than_its_bound() {
    // A long host name once made it so.
    let worst = "\u{5c}".repeat(5000);
    let bytes = written(b"", u64::MAX, &worst, Some(&worst[..255]), &worst);
    assert!(bytes.len() <= Record::MAX_BYTES, "{}", bytes.len());
    assert!(bytes.ends_with(b"\nend\n"));
}

#[test]
fn a_record_of_a_newer_version_keeps_its_fence() {
    let record = Record::parse(b"distributed-lock 1\ncolour red\nfence 9\nend\n").unwrap();
    assert_eq!(record.fence, 9);
}

#[test]
fn an_empty_file_is_ours() {
    assert_eq!(Record::parse(b""), Some(Record::default()));
}

#[test]
fn a_foreign_file_is_not_ours() {
    let files: [&[u8]; 8] = [
        b"#!/bin/sh\n",
        b"\n",
        b"\0\0\0",
        b"distributed-lock 2\n",
        b"distributed-lock 12\n",
        b"distributed-lock",
        b"4242\n",
        b"\xff\xfe",
    ];
    for bytes in files {
        assert_eq!(Record::parse(bytes), None, "{bytes:?}");
    }
}

#[test]
fn a_torn_record_is_ours_and_never_a_panic() {
    let whole = written(b"", 1_763_701_200_123_456, "hö\nst", Some("a\\b"), "漢\u{9f}字");
    for length in "distributed-lock 1".len()..whole.len() {
        let torn = Record::parse(&whole[..length]).unwrap();
        assert!(torn.fence <= 1_763_701_200_123_456);
        let mut zeroed = whole.clone();
        zeroed[length..].fill(0);
        if length > "distributed-lock 1".len() {
            assert!(Record::parse(&zeroed).is_some(), "{length}");
        }
    }
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 0xff;
        let _ = Record::parse(&flipped);
    }
}

#[test]
fn the_next_fence_is_greater_than_that_of_a_torn_or_wrong_record() {
    let files: [&[u8]; 4] = [
        b"",
        b"distributed-lock 1\nfence 17",
        b"distributed-lock 1\nfence -5\nend\n",
        b"distributed-lock 1\nfence 99999999999999999999999\nend\n",
    ];
    for bytes in files {
        assert_eq!(Record::parse(&written(bytes, 1000, "h", None, "n")).unwrap().fence, 1000);
    }
    let ahead: [&[u8]; 4] = [
        b"distributed-lock 1\nfence 5000\nend\n",
        b"distributed-lock 1\ncolour red\n\nfence 5000",
        b"distributed-lock 1\nfence 5000\nfence 7000\nend\n",
        b"distributed-lock 1\nfence 5000\nend\nfence 7000\n",
    ];
    for bytes in ahead {
        assert_eq!(Record::parse(bytes).unwrap().fence, 5000);
        assert_eq!(Record::parse(&written(bytes, 1000, "h", None, "n")).unwrap().fence, 5001);
    }
}

/// What the next holder writes into a file that says `old`.
fn written(old: &[u8], wall_micros: u64, host: &str, owner: Option<&str>, name: &str) -> Vec<u8> {
    let mut options = AcquireOptions::new();
    if let Some(owner) = owner {
        options = options.with_owner(owner);
    }
    let settings = FileLockOptions::new(Identity::new(host, 4242));
    let name = LockName::new(name).expect("a short name");
    let (demand, seed) = (Demand::Exclusive, Seed::from_bytes([0; 32]));
    let mut machine = FileLock::new(name, demand, &options, settings, &seed, Instant::ZERO)
        .expect("sensible options");
    loop {
        let request = machine.poll_request().expect("the machine writes in the end");
        let reply = match request.command {
            Command::Read(_) => Reply::Contents { bytes: old.to_vec(), wall_micros },
            Command::Write(_, bytes) => {
                machine.handle_reply(request.id, Ok(Reply::Done), Instant::ZERO);
                let fence = Record::parse(&bytes).map(|record| record.fence);
                let acquired = machine.poll_event();
                assert!(
                    matches!(acquired, Some(Event::Acquired { fence: told, .. }) if told == fence)
                );
                return bytes;
            }
            Command::Enter { .. }
            | Command::Leave
            | Command::CreateDirectory
            | Command::Open(_)
            | Command::TryLock(..)
            | Command::Watch(_)
            | Command::Verify(_)
            | Command::Remove(_)
            | Command::Close(_) => Reply::Done,
        };
        machine.handle_reply(request.id, Ok(reply), Instant::ZERO);
    }
}
