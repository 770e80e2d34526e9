use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lock_tests::entropy::Entropy;
use lock_tests::fuzz::{Target, targets};
use lock_tests::simulate::machines;
use lock_tests::trace::Trace;

/// For each target, beside its corpus.
const RANDOM_STRINGS: u64 = 300;
const LONGEST: usize = 400;

#[test]
fn every_string_that_a_fuzzer_kept_is_harmless() {
    for target in targets() {
        let kept = kept(target.name);
        assert!(!kept.is_empty(), "{} has no corpus", target.name);
        for (path, bytes) in kept {
            try_on(target, &bytes, &path.display().to_string());
        }
    }
}

#[test]
fn the_corpora_of_the_worlds_reach_every_rare_state() {
    for machine in machines() {
        let mut trace = Trace::silent();
        for (_, bytes) in kept(&format!("world_{}", machine.name.replace('-', "_"))) {
            (machine.simulation)(Entropy::new(bytes), &mut trace);
        }
        trace.sightings().must_have_seen(machine.rare_states);
    }
}

#[test]
fn random_strings_are_harmless() {
    for target in targets() {
        for seed in 0..RANDOM_STRINGS {
            let length = seed as usize * LONGEST / RANDOM_STRINGS as usize;
            let bytes = Entropy::from_seed(seed, length).into_bytes();
            try_on(target, &bytes, &format!("seed {seed}"));
        }
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_the_other_way_round() {
    let mut names: Vec<&str> = targets().iter().map(|target| target.name).collect();
    names.sort_unstable();
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("it is there");
    let mut programs: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\""))
        .collect();
    programs.sort_unstable();
    assert_eq!(programs, names);
    for folder in [corpora(), root().join("fuzz/targets")] {
        let mut found: Vec<String> = fs::read_dir(&folder)
            .expect("it is there")
            .map(|entry| entry.expect("the folder stays").path())
            .map(|path| path.file_stem().expect("it has a name").to_string_lossy().into_owned())
            .collect();
        found.sort_unstable();
        assert_eq!(found, names, "{}", folder.display());
    }
}

fn try_on(target: &Target, bytes: &[u8], what: &str) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.body)(bytes)));
    assert!(outcome.is_ok(), "{} does not hold for {what}", target.name);
}

/// The strings of one target, and where they are.
fn kept(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpora().join(target);
    let files = fs::read_dir(&folder);
    let files = files.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = files.map(|file| file.expect("the folder stays").path());
    paths.map(|path| (path.clone(), fs::read(&path).expect("it is a file"))).collect()
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it has a workspace").to_owned()
}
