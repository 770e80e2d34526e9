use std::borrow::Borrow as _;
use std::collections::{BTreeMap, BTreeSet};

use lock_proto::file::Identity;
use lock_proto::redis::{Command, Keys, Message, Side, Token, Verb, slot};
use lock_proto::{LockError, LockName, Seed};

/// Prefix, name, the lock's key and its slot: as DistributedLock.Redis 2.8.1 has them for mutexes
/// and semaphores, with the slots that Redis 7.0.15 gives them.
const VECTORS: [(&str, &str, &str, u16); 12] = [
    ("", "lock", "lock", 8718),
    ("", "MyLockName", "MyLockName", 2177),
    ("", "", "", 0),
    ("", "{orders}:1", "{orders}:1", 105),
    ("", "\u{6c49}\u{5b57}", "\u{6c49}\u{5b57}", 16196),
    ("", "\0\u{1f409}\u{6c49}\u{5b57}\u{8}\r\n\\", "\0\u{1f409}\u{6c49}\u{5b57}\u{8}\r\n\\", 4085),
    ("P", "N", "PN", 10165),
    ("", "PN", "PN", 10165),
    ("distributed_locks:", "lock1", "distributed_locks:lock1", 4532),
    ("", "ComputeDatabase", "ComputeDatabase", 10482),
    ("", "test-key", "test-key", 5139),
    ("app:", "sem", "app:sem", 8111),
];

/// Keys and their slots, with every kind of hash tag.
const SLOTS: [(&str, u16); 11] = [
    ("foo.readers", 3988),
    ("foo.writer", 98),
    ("{foo}.readers", 12182),
    ("{foo}.writer", 12182),
    ("{}x.readers", 6496),
    ("{}x.writer", 13306),
    ("a{b}{c}.readers", 3300),
    ("x{y.readers", 14598),
    ("x{y.writer", 8046),
    ("app:foo.readers", 844),
    ("123456789", 12739),
];

/// Names that could be taken for one another's auxiliary keys, or have no tag of their own.
const AWKWARD: [&str; 28] = [
    "",
    "a",
    "{a}",
    "{{a}}",
    "{a}:",
    "a:",
    "{a}!a",
    "{#5}!a",
    "{#5}!{a",
    "{#5}!a}",
    "{#5}!",
    "#5",
    "{#5}",
    "a}",
    "{a",
    "}",
    "{",
    "{}",
    "{}a",
    "a{}",
    "}{",
    "a}b{c}",
    "{a}{b}",
    "{a}b",
    "{a}fence",
    "fence",
    "{a}:dlock",
    "a:dlock",
];

#[test]
fn the_key_of_a_lock_is_the_one_of_the_dotnet_library() {
    for (prefix, name, key, expected) in VECTORS {
        let keys = keys(prefix, name);
        assert_eq!(keys.lock(), key);
        assert_eq!(slot(key), expected, "{key:?}");
    }
}

#[test]
fn slots_are_those_of_redis() {
    for (key, expected) in SLOTS {
        assert_eq!(slot(key), expected, "{key:?}");
    }
}

#[test]
fn every_key_of_a_lock_lies_in_its_slot() {
    for prefix in ["", "app:", "{", "}", "{app}:"] {
        for name in AWKWARD.into_iter().chain(VECTORS.map(|(_, name, ..)| name)) {
            let keys = keys(prefix, name);
            let expected = slot(keys.lock());
            for key in all(&keys) {
                assert_eq!(slot(&key), expected, "{key:?} of {name:?} with prefix {prefix:?}");
            }
        }
    }
}

#[test]
fn no_two_locks_share_a_key() {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for name in AWKWARD {
        for key in all(&keys("", name)) {
            let other = owners.insert(key.clone(), name);
            assert_eq!(other, None, "{key:?} is also of {name:?}");
        }
    }
}

#[test]
fn a_name_with_a_tag_of_its_own_is_not_the_one_that_is_tagged_for_it() {
    // "x}:" has no tag, and was given one; another name may have the very same.
    let other = keys("", "x}:");
    let number = (0..).find(|number| slot(&format!("#{number}")) == slot("x}:")).unwrap();
    let alike = keys("", &format!("{{#{number}}}!x}}"));
    assert_ne!(alike.fence(), other.fence());
}

#[test]
fn the_name_of_a_lock_is_found_by_its_fence() {
    for prefix in ["", "app:", "{", "}", "{app}:"] {
        for name in AWKWARD.into_iter().chain(VECTORS.map(|(_, name, ..)| name)) {
            let keys = keys(prefix, name);
            assert_eq!(Keys::name_of_fence(prefix, keys.fence()), Some(name), "{prefix:?}");
            for key in all(&keys).iter().filter(|key| *key != keys.fence()) {
                assert_eq!(Keys::name_of_fence(prefix, key), None, "{key:?}");
            }
        }
    }
    assert_eq!(Keys::name_of_fence("app:", keys("", "a").fence()), None);
}

#[test]
fn the_semaphore_and_the_number_of_a_slot_are_found_by_its_lock() {
    for prefix in ["", "app:"] {
        let keys = keys(prefix, "pool");
        let slot = format!("{}17", keys.permits());
        assert_eq!(Keys::slot_of_permit(prefix, &slot), Some(("pool", 17)), "{slot}");
        assert_eq!(Keys::slot_of_permit(prefix, keys.fence()), None);
        assert_eq!(Keys::slot_of_permit(prefix, &format!("{slot}th")), None);
        assert_eq!(Keys::slot_of_permit("other:", &slot), None);
    }
}

#[test]
fn a_name_that_could_be_an_auxiliary_key_is_refused() {
    for name in ["{a}:dlock:fence", ":dlock:", "x:dlock:y"] {
        let error = Keys::new("", &LockName::new(name).unwrap()).unwrap_err();
        assert!(matches!(error, LockError::InvalidName(_)));
        assert_eq!(
            error.to_string(),
            "invalid lock name: on Redis \":dlock:\" marks the keys that stand beside a lock"
        );
    }
    let apart = Keys::new("x:dlock", &LockName::new(":fence").unwrap());
    assert!(apart.is_err(), "the prefix and the name make it together");
}

#[test]
fn a_token_says_who_holds_to_those_who_ask() {
    let identity = Identity::new("web_1", 4711);
    for owner in [None, Some("billing"), Some("night shift_2@home")] {
        let token = Token::new(&identity, owner, &Seed::from_bytes([7; 32]));
        for text in [token.as_str().to_owned(), format!("{}:2", token.as_str())] {
            let holder = Token::holder(&text);
            assert_eq!(holder.owner.as_deref(), owner, "{text}");
            assert_eq!(holder.host.as_deref(), Some("web_1"));
            assert_eq!(holder.pid, Some(4711));
        }
    }
}

#[test]
fn every_digit_of_a_token_is_drawn() {
    let identity = Identity::new("web", 1);
    let mut seen = vec![BTreeSet::new(); 32];
    for seed in 0..=u8::MAX {
        let token = Token::new(&identity, None, &Seed::from_bytes([seed; 32]));
        let digits = token.as_str().strip_prefix("web_1_").unwrap();
        assert_eq!(digits.len(), 32, "{digits}");
        for (seen, digit) in seen.iter_mut().zip(digits.chars()) {
            seen.insert(digit);
        }
    }
    for digits in seen {
        assert_eq!(digits.into_iter().collect::<String>(), "0123456789abcdef");
    }
}

#[test]
fn tokens_of_the_dotnet_library_are_understood() {
    let tokens = [
        ("web-1_4711_0f8fad5bd9cb469fa16570867728950e", "web-1", 4711),
        ("my_host_1_00000000000000000000000000000000", "my_host", 1),
    ];
    for (token, host, pid) in tokens {
        let holder = Token::holder(token);
        assert_eq!((holder.host.as_deref(), holder.pid), (Some(host), Some(pid)));
        assert_eq!(holder.owner, None);
    }
}

#[test]
fn other_values_say_nothing_of_their_holder() {
    let others = [
        "",
        "_",
        "__",
        "5f0c9c0e-8d9c-4f5e-9d53-3a5d5b3c6c11",
        "host_7_0f8fad5bd9cb469fa16570867728950",
        "host_7_0f8fad5bd9cb469fa16570867728950g",
        "host_x_0f8fad5bd9cb469fa16570867728950e",
        "7_0f8fad5bd9cb469fa16570867728950e",
        "host_4294967296_0f8fad5bd9cb469fa16570867728950e",
        "web-1_4711_0f8fad5bd9cb469fa16570867728950e_WRITERWAITING",
    ];
    for other in others {
        assert_eq!(Token::holder(other), lock_proto::Holder::default(), "{other:?}");
    }
}

#[test]
fn a_token_is_not_printed() {
    let token = Token::new(&Identity::new("web", 1), None, &Seed::from_bytes([7; 32]));
    assert_eq!(format!("{token:?}"), "Token(..)");
    // A map of tokens is searched by what a message says.
    let text: &str = token.borrow();
    assert!(!text.is_empty() && text == token.as_str());
    let command = Command::new(0, &keys("", "a"), &token, Verb::Mint);
    assert!(!format!("{command:?}").contains(token.as_str()));
}

#[test]
fn a_grant_is_read_from_the_right() {
    let grant = Message::parse("night shift@host_7_ab 1700000000000001 5").unwrap();
    assert_eq!(grant.0, "night shift@host_7_ab");
    assert_eq!((grant.1.fence, grant.1.stamp), (1_700_000_000_000_001, 5));
    for text in ["", "a", "a 1", "a x 1", "a 1 x", "a -1 1", "a 1 18446744073709551616"] {
        assert_eq!(Message::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_script_is_given_every_key_it_touches() {
    let keys = keys("", "a");
    for side in [Side::Exclusive, Side::Shared, Side::Permits { count: 1, limit: 2 }] {
        let info = side.info(&keys);
        assert!(info.keys.iter().all(|key| slot(key) == slot("a")));
        let count = if matches!(side, Side::Permits { .. }) { 4 } else { 6 };
        assert_eq!(info.keys.len(), count);
    }
}

fn keys(prefix: &str, name: &str) -> Keys {
    let name = LockName::new(name).expect("a short name");
    Keys::new(prefix, &name).expect("a name without marks")
}

fn all(keys: &Keys) -> Vec<String> {
    let own = [keys.lock(), keys.fence(), keys.waiting(), keys.writers()];
    let shared = [keys.queue(), keys.readers()];
    let mut all: Vec<String> = own.into_iter().chain(shared).map(String::from).collect();
    all.push(keys.gone("web-1_4711_0f8fad5bd9cb469fa16570867728950e"));
    all.push(keys.gone("night{shift}@web_1_0f8fad5bd9cb469fa16570867728950e"));
    all
}

#[test]
fn the_hash_of_a_key_is_that_of_the_internet_draft() {
    for (name, hash) in [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c)] {
        assert_eq!(Keys::new("", &LockName::new(name).unwrap()).unwrap().hash(), hash, "{name:?}");
    }
    let prefixed = Keys::new("foo", &LockName::new("bar").unwrap()).unwrap();
    assert_eq!(prefixed.hash(), 0x8594_4171_f739_67e8);
}
