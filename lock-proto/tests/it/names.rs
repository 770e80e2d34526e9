use std::collections::BTreeSet;

use lock_proto::file::{File, file_name};
use lock_proto::{LockError, LockName};

#[test]
fn a_file_is_named_as_the_dotnet_library_names_it() {
    for (part, times, rest, expected) in VECTORS {
        let name = format!("{}{rest}", part.repeat(times));
        assert_eq!(file_name(&name), expected, "{name:?}");
    }
}

#[test]
fn a_file_name_is_safe_on_every_file_system() {
    for (part, times, rest, _) in VECTORS {
        let file = file_name(&format!("{}{rest}", part.repeat(times)));
        assert!(file.chars().count() <= 64, "{file}");
        assert!(file.chars().all(|letter| letter.is_alphanumeric() || "_.".contains(letter)));
    }
}

#[test]
fn names_that_look_alike_have_files_that_differ_on_any_file_system() {
    let names = ["a", "A", "a ", " a", "a.", "a\0", "a/", "", ".", "..", "\u{e9}", "e\u{301}"];
    let files: BTreeSet<String> = names.iter().map(|name| file_name(name).to_lowercase()).collect();
    assert_eq!(files.len(), names.len());
}

#[test]
fn a_semaphore_never_meets_a_lock() {
    for file in [File::Gate, File::Permit(0), File::Permit(u32::MAX)] {
        assert!(!format!("x{}", file.suffix()).ends_with(".lock"));
    }
    assert_eq!(File::Lock.suffix(), "");
    assert_eq!(File::Permit(12).suffix(), ".permit12");
}

#[test]
fn any_text_up_to_a_mebibyte_is_a_name() {
    for name in ["", ".", "..", "/", "a\0b", "\u{1f989}", &"x".repeat(LockName::MAX_BYTES)] {
        assert_eq!(LockName::new(name).unwrap().as_str(), name);
    }
}

#[test]
fn a_name_is_shown_as_text() {
    let name = LockName::new("a\nb").unwrap();
    assert_eq!((format!("{name}"), format!("{name:?}")), ("a\nb".into(), r#""a\nb""#.into()));
}

#[test]
fn a_longer_name_is_refused_and_says_what_to_do() {
    let error = LockName::new("x".repeat(LockName::MAX_BYTES + 1)).unwrap_err();
    assert!(matches!(error, LockError::InvalidName(_)));
    assert_eq!(
        error.to_string(),
        "invalid lock name: it is 1048577 bytes long and may have 1048576; use a digest of it \
         instead"
    );
}

/// A part, how often it is repeated, what follows, and the file's name. The first nine stand in
/// `TestSafeNameCompatibility` of DistributedLock 2.8.1; an independent re-implementation, checked
/// against those, computed the rest.
const VECTORS: [(&str, usize, &str, &str); 42] = [
    ("", 1, "", "P6AD62YPPHO33YTKIBUM5WBQHQVBCSXA.lock"),
    (".", 1, "", "_LIYISOQPXAPX3NYVHPC2EK4WEOU6OW7Y.lock"),
    ("..", 1, "", "__G2H2MVGLQK7QVO2MAWVKSVSKM26KX5S6.lock"),
    ("...", 1, "", "___2ZDJLYOT376KUA5OQFR2OERKUXIH4A7R.lock"),
    ("a", 260, "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaXTSAJQWFKOYRBNXC6DV3HRZWQJANRKCX.lock"),
    ("ABC", 1, "", "ABCZJ4QR6TVN4A3KMGQ4BUKHOWQYFRLXSB3.lock"),
    ("abc", 1, "", "abc56LLTQOSBT6ULGHITLS4KQEIRREMO53J.lock"),
    ("\u{1f989}", 63, "123", "___________________________VA7XJG3JUQKTL6AU2KWPHVQFK43N4DVW.lock"),
    ("\u{1f989}", 63, "1234", "___________________________NOLT44QRLWYINT53TY2I4H34X4AU4O46.lock"),
    ("a", 1, "", "a7AQYPJK3ERFIZ2FBZT3ZW2LQSPVPNJ3R.lock"),
    ("A_B", 1, "", "A_B2ASOEESNNNRIB2QDA3UJ5ZBCQRXFZIJC.lock"),
    ("\\A\\", 1, "", "_A_P6HN2ZCVGX3TF7V43BOHJ5DZXLYTWHXP.lock"),
    ("<", 1, "", "_RNCRVQCLAZOEVWCGUVT5XJFTOOHIXIMW.lock"),
    ("a.", 1, "", "a_XL2ON2LTL4Q6EU5J66KEMZRP4V7HN3HQ.lock"),
    ("a ", 1, "", "a_EIBFE4O2ZNX75NODG27DUSVJSC6CPAFS.lock"),
    (".A", 1, "", "_APTJ2NF6KPMOQKJPY2JWSUDGMAT3GWB66.lock"),
    ("CON", 1, "", "CON5JCNYDVB5HKWNOUWLRWXDAHEGB5NENCY.lock"),
    ("CONOUT$", 1, "", "CONOUT_O2SKZMCGBKUNKNRO24V4A543L6VHTV6H.lock"),
    ("a/b/c", 1, "", "a_b_cI5UXVRWND6VMY7IU5LZBSS3HEIJBDZLM.lock"),
    ("../../etc/passwd", 1, "", "______etc_passwdS62KVRAQYE63VFMUMDHTV2HMFYVD6J47.lock"),
    ("orders/2024", 1, "", "orders_20243VTOU3EVV3INETBU7FSQU2SSFF32HPPO.lock"),
    ("my-lock", 1, "", "my_lockLUAS3PKBYXUTL335NMD7Z6O2FOSRAEQW.lock"),
    ("my lock", 1, "", "my_lockKKD3VIZSDJOVMQMJ5ULOH7MJASQQP6DI.lock"),
    ("my.lock", 1, "", "my_lock6NJWVGJJZFFPK6GSJX7IT2SAT3GT7KMW.lock"),
    ("a", 27, "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaMS2ZI7Z6XK6PB6BFALARPY3CNVLDZQGG.lock"),
    ("a", 28, "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaEZB2X3HIL66Q2C6GWGLKV5776BKXBQRH.lock"),
    ("x", 1000, "", "xxxxxxxxxxxxxxxxxxxxxxxxxxxO5EOFOVLY4PN2EGM3LM7ZHUKPPXFVZOS.lock"),
    ("-", 30, "", "___________________________MSVY6ZBDXS56KUQ7GT7SVQE663TRTA5H.lock"),
    ("line1\nline2", 1, "", "line1_line2EEWF7UF2KAVRQJFPIJWWJENIF6YQNQCF.lock"),
    (
        "\u{dc}n\u{ef}c\u{f6}d\u{e9}",
        1,
        "",
        "\u{dc}n\u{ef}c\u{f6}d\u{e9}DUXZV5OU5A6C2LOTRLZZYE6U62JFHAVA.lock",
    ),
    ("e\u{301}", 1, "", "e_ARCITMMIJTAA4ZBXWQHBKF63EWGLVM4J.lock"),
    ("\u{e9}", 1, "", "\u{e9}6UKENDOGSHRCV66J4BHE3CYQCVGIUB3V.lock"),
    ("\u{6f22}\u{5b57}", 1, "", "\u{6f22}\u{5b57}5VMJVK5RJVWOY36M7A76ZNZ7PIEN7W2X.lock"),
    ("\u{aa}", 1, "", "\u{aa}55XRIU6RTAZ4FWBCFP7JP45EUA3EXAYD.lock"),
    ("\u{bd}", 1, "", "_DKA46TAJKFKZCXWIKXFJXWP76NOZBGQ2.lock"),
    ("\u{663}", 1, "", "\u{663}VFH4YOOYZT5CCPZKY2DRYBD4HXEAIXFL.lock"),
    ("\u{2b0}", 1, "", "\u{2b0}2DF4E3YX77SNHJMWY76ZLWD4PAUGZZS7.lock"),
    ("a\u{203f}b", 1, "", "a_bCTEYOHBFZPZAVFNDWOVKAVBQ3D7TZ2C5.lock"),
    ("\u{ff3f}", 1, "", "_LU7XBWFRQZMF4IMJWIVPUQUH5NASHAFC.lock"),
    ("\u{1f989}", 1, "", "__ACON6H6GAJ2EFC3IRFFEHBICTYXWVJEY.lock"),
    ("a\u{1f989}b", 1, "", "a__bDB37K46P4NVWPSE5ELNEXIEOXTZNII5X.lock"),
    ("a", 26, "\u{1f989}", "aaaaaaaaaaaaaaaaaaaaaaaaaa_D4I3JAJYB5LTPUP2MAQEIRWSMYONLLFZ.lock"),
];
