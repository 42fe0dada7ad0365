//! A rule as typed, and a policy file: read or refused with a place in it; and what was read is read again.
#![no_main]

use httpjail::policy::{Rule, Source};
use httpjail::policy_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(rule) = Rule::parse(text, Source::Option(1)) {
        let again = Rule::parse(&rule.to_string(), Source::Option(1)).expect("a rule that was read is read again");
        assert_eq!(again.to_string(), rule.to_string());
    }
    match policy_file::parse("policy.yaml", text) {
        Ok(file) => drop(file),
        Err(error) => {
            // What ends a line in YAML 1.1.
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
            assert!((1..=lines + 1).contains(&error.line) && error.column >= 1, "{error}");
            assert!(!error.message.is_empty());
        }
    }
});
