use std::collections::BTreeSet;

use lock_proto::LockError;
use lock_proto::postgres::AdvisoryKey;
use lock_proto::postgres::AdvisoryKey::{Pair, Single};

#[test]
fn a_name_that_says_its_key_has_the_key_that_the_dotnet_library_gives_it() {
    for (name, key, _) in EXACT {
        assert_eq!(AdvisoryKey::from_exact_name(name).unwrap(), key, "{name:?}");
        assert_eq!(AdvisoryKey::from_name(name), key, "{name:?}");
    }
}

#[test]
fn any_other_name_has_the_hash_that_the_dotnet_library_gives_it() {
    for (part, times, key) in HASHED {
        let name = part.repeat(times);
        assert_eq!(AdvisoryKey::from_name(&name), Single(key), "{name:?}");
        AdvisoryKey::from_exact_name(&name).unwrap_err();
    }
}

#[test]
fn a_name_that_would_be_hashed_is_refused_where_it_must_be_exact() {
    for name in REFUSED {
        let error = AdvisoryKey::from_exact_name(name).unwrap_err();
        assert!(matches!(error, LockError::InvalidName(_)), "{name:?}");
        assert!(matches!(AdvisoryKey::from_name(name), Single(_)), "{name:?}");
    }
    assert_eq!(
        AdvisoryKey::from_exact_name("orders/2024").unwrap_err().to_string(),
        "invalid lock name: it is neither ASCII text of at most 9 characters, nor 16 hexadecimal \
         digits, nor 8, a comma and 8 more"
    );
}

#[test]
fn a_key_is_written_as_the_dotnet_library_writes_it_unless_that_can_not_be_read() {
    for (name, key, canonical) in EXACT {
        let readable = |text: &str| text.bytes().all(|unit| (b' '..=b'~').contains(&unit));
        let Pair(high, low) = key else {
            assert_eq!(key.to_string(), canonical, "{name:?}");
            continue;
        };
        let digits = format!("{high:08x},{low:08x}");
        let expected =
            if canonical.is_empty() || !readable(canonical) { &digits } else { canonical };
        assert_eq!(&key.to_string(), expected, "{name:?}");
    }
}

#[test]
fn a_key_is_found_in_the_servers_list_of_locks() {
    assert_eq!(Single(0x0123_4567_89ab_cdef).row(), (0x0123_4567, 0x89ab_cdef, 1));
    assert_eq!(Single(-1).row(), (u32::MAX, u32::MAX, 1));
    assert_eq!(Pair(7, -1).row(), (7, u32::MAX, 2));
}

#[test]
fn a_key_that_is_written_down_can_be_read_again() {
    let words = (0..u64::BITS).flat_map(|bit| [1 << bit, !(1 << bit), u64::MAX >> bit, !0 << bit]);
    let mut seed = 1_u64;
    let random = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed
    });
    for word in words.chain(random.take(10_000)) {
        for key in [Single(word as i64), Pair((word >> 32) as i32, word as i32)] {
            let written = key.to_string();
            assert_eq!(AdvisoryKey::from_exact_name(&written).unwrap(), key, "{written:?}");
        }
    }
}

#[test]
fn names_that_are_nearly_keys_share_no_key() {
    // distributed-lock-postgres for Rust reads signs, and halves that are too short.
    let groups: [&[&str]; 4] = [
        &["0000000000000001", "+000000000000001", "-000000000000001", " 000000000000001", "1"],
        &["00000001,00000002", "00000001,2", "1,00000002", "+0000001,+0000002", "1,2"],
        &["ffffffffffffffff", "-1", "18446744073709551615", "-0000000000000001"],
        &[
            "\u{e9}0000000000000",
            "000000\u{e9}00000000",
            "0000000\u{e9}\u{e9}00000",
            "0000000\u{1f989}0000000",
        ],
    ];
    for group in groups {
        let keys: BTreeSet<AdvisoryKey> =
            group.iter().map(|name| AdvisoryKey::from_name(name)).collect();
        assert_eq!(keys.len(), group.len(), "{group:?}");
    }
}

#[test]
fn the_two_kinds_of_keys_are_different_keys() {
    assert_ne!(Single(1), Pair(0, 1));
    assert_eq!(AdvisoryKey::from_name("a"), Pair(-1_023_410_177, -1));
}

/// A name, its key, and how the other library writes the key: from an independent
/// re-implementation that was checked against the tests of DistributedLock 2.8.1.
const EXACT: [(&str, AdvisoryKey, &str); 37] = [
    ("0000000000000001", Single(1), "0000000000000001"),
    ("00000003,ffffffff", Pair(3, -1), "00000003,ffffffff"),
    ("", Pair(2147483647, -1), ""),
    ("\0", Pair(16777215, -1), "\0"),
    ("a", Pair(-1023410177, -1), "a"),
    ("base37", Pair(-980967850, 1843396607), "base37"),
    ("ASCII", Pair(-2092032871, 805306367), "ASCII"),
    ("ASCIi", Pair(-2092032867, 805306367), "ASCIi"),
    ("abcdefghi", Pair(-1014292916, -1179391790), "abcdefghi"),
    ("123456789", Pair(1657379654, -1382303630), "123456789"),
    ("zzzzzzzzz", Pair(-169093201, 1589476084), "zzzzzzzzz"),
    ("\x7f", Pair(-16777217, -1), "\x7f"),
    ("  ", Pair(1082261503, -1), "  "),
    ("a ", Pair(-1031667713, -1), "a "),
    (" a", Pair(1099300863, -1), " a"),
    ("a\0", Pair(-1040056321, -1), "a\0"),
    ("\0a", Pair(25559039, -1), "\0a"),
    ("a\0b", Pair(-1039985665, -1), "a\0b"),
    ("\t", Pair(318767103, -1), "\t"),
    ("deadbeef", Pair(-912847284, 1500702335), "deadbeef"),
    ("C:\\x", Pair(-2031425657, -1), "C:\\x"),
    ("0", Pair(1627389951, -1), "0"),
    ("00000000", Pair(1623294726, 202911871), "00000000"),
    ("lock", Pair(-641786185, -1), "lock"),
    ("LOCK", Pair(-1723982665, -1), "LOCK"),
    ("7fffffffffffffff", Single(9223372036854775807), "7fffffffffffffff"),
    ("ffffffffffffffff", Single(-1), "ffffffffffffffff"),
    ("FFFFFFFFFFFFFFFF", Single(-1), "ffffffffffffffff"),
    ("00000003ffffffff", Single(17179869183), "00000003ffffffff"),
    ("1234567890123456", Single(1311768467284833366), "1234567890123456"),
    ("deadbeefdeadbeef", Single(-2401053088876216593), "deadbeefdeadbeef"),
    ("0123456789abcdef", Single(81985529216486895), "0123456789abcdef"),
    ("7fffffff,80000000", Pair(2147483647, -2147483648), "7fffffff,80000000"),
    ("80000000,7fffffff", Pair(-2147483648, 2147483647), "80000000,7fffffff"),
    ("deadbeef,DEADBEEF", Pair(-559038737, -559038737), "deadbeef,deadbeef"),
    ("1234567\x001234567\0", Single(81985526925837671), "0123456701234567"),
    ("1\0\0\0\0\0\0\0,2\0\0\0\0\0\0\0", Pair(1, 2), "00000001,00000002"),
];

/// A part, how often it is repeated, and the hash of the whole.
const HASHED: [(&str, usize, i64); 17] = [
    ("some very long name", 1, 1765484347666752899),
    ("abcdefghij", 1, -1533680579028349738),
    ("0x12345678901234", 1, 3358033081379378602),
    ("123456789abcdef", 1, -1172012197311535163),
    ("0000000,00000000", 1, -8586752267291207479),
    ("00000000;00000000", 1, 4282523588395502972),
    ("00000000,-0000001", 1, -4232622802076057541),
    ("00000000,00000000,", 1, -4417345171941324275),
    ("\u{ff10}", 16, 2969215952823430463),
    ("\u{80}", 1, -4848288348540872598),
    ("\u{1f989}", 1, -4768510268875073265),
    ("\u{1f989}", 8, -3816445818235239389),
    ("\u{6f22}\u{5b57}", 1, -1151405521232592816),
    ("aaaaaaaaaa", 100, 5280920703256370729),
    ("Orders/2024/07/31", 1, -4700606586511701411),
    ("orders/2024/07/31", 1, -1665896240290075224),
    ("name\0with\0nul", 1, -6690362544659071837),
];

/// Names that are refused where hashing is.
const REFUSED: [&str; 29] = [
    "AAAAAAAAAA",
    "\u{6f22}\u{5b57}",
    "some very long name",
    "abcdefghij",
    "0123456789abcdeg",
    "-123456789abcdef",
    "+123456789abcdef",
    " 123456789abcdef",
    "123456789abcdef ",
    "00000000,0000000",
    "000000000,0000000",
    "00000000-00000000",
    "00000000,0000000g",
    "00000000,00000000,",
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    "\0\0\0\0\0\0\0\0\0\0",
    "\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}",
    "\u{e9}",
    "e\u{301}",
    "\u{c9}",
    "\u{80}",
    "\u{1f989}",
    "\u{1f989}\u{1f989}\u{1f989}\u{1f989}\u{1f989}\u{1f989}\u{1f989}\u{1f989}",
    "orders/2024/07/31",
    "trailing space ",
    "trailing space",
    "name\0with\0nul",
    "a.b.c.d.e.f",
    "1\x0034567\x001234567\0",
];
