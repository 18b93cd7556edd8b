#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sinew::fuzzing::run(env!("CARGO_BIN_NAME"), data));
