#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lock_tests::fuzz::run("world_cluster_forgetful", bytes));
