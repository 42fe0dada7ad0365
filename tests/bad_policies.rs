//! Policy files with slips in them, hundreds, made from good ones by a seeded hand: each is loaded as it stands or refused
//! with the place that is wrong; none of them ends the program.

use std::collections::BTreeMap;

use httpjail::policy_file;

const GOOD: [&str; 5] = [
    r#"rules:
  - action: allow
    pattern: "github\.com"
    methods:
  - action: deny
    pattern: ".*"
logging:
  level: info
  file: /var/log/httpjail.log
"#,
    r"# What the build asks for.
rules:
  - name: registry
    action: allow
    host: registry.example.com
    methods: [get, head]
  - action: allow
    host: '*.example.com'
    path: /api/*
  - {action: deny, pattern: '^https://[^/]*\.example\.com/'}
dns: synthetic
timeout: 90
",
    r"rules:
- action: allow
  methods: [post]
  pattern: ^https://api\.github\.com/graphql$
- action: allow
  pattern: >-
    ^https://(www\.)?example\.com/
upstream-ca: [a.pem, b.pem]
publish:
  - 127.0.0.1:8080
  - '3000'
user: builder
",
    "dry-run: true\nrules: []\nlogging: {level: debug}\nlog: requests.json\nlog-format: json\n",
    "rules:\n  - &first\n    action: allow\n    host: a.example\n    methods: [GET, PUT, DELETE]\n  - action: deny\n    host: b.example:8443\nno-tls-intercept: false\nallow-socket: /run/x.sock\n",
];

/// What slips in, between any two characters.
const SLIPS: [&str; 36] = [
    "\t",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r",
    ":",
    ": ",
    "- ",
    "-",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    ",",
    "#",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "|\n",
    ">",
    "%",
    "@",
    "`",
    "\\",
    "?",
    "<<: *first",
    "---\n",
    "...\n",
    "\0",
    "\u{1b}[2J",
    "\u{202e}",
    "ÿ",
];

/// What stands where a value stood.
const VALUES: [&str; 14] = [
    "",
    "~",
    "null",
    "true",
    "0",
    "-1",
    "1e99",
    "0x10",
    "99999999999999999999",
    "[]",
    "{}",
    "[[[[[[[[",
    "'(unclosed'",
    "{a: {b: c}}",
];

/// Marsaglia's xorshift: the same slips in every run.
struct Hand(u64);

impl Hand {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// One slip.
    fn spoil(&mut self, text: &str) -> String {
        if text.is_empty() {
            return self.of(&SLIPS).to_owned();
        }
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = self.below(lines.len());
        let chars: Vec<char> = text.chars().collect();
        let at = self.below(chars.len());
        let whole = |chars: &[char]| chars.iter().collect::<String>();
        match self.below(9) {
            0 => return whole(&chars[..at]) + self.of(&SLIPS) + &whole(&chars[at..]),
            1 => return whole(&chars[..at]) + &whole(&chars[(at + 1).min(chars.len())..]),
            2 => return whole(&chars[..at]),
            3 => {
                let copy = lines[line].clone();
                lines.insert(line, copy);
            }
            4 => drop(lines.remove(line)),
            5 => lines[line].insert_str(0, self.of(&[" ", "  ", "\t", "- "])),
            6 => lines[line] = lines[line].trim_start().to_owned(),
            7 => {
                if let Some((key, _)) = lines[line].clone().split_once(": ") {
                    lines[line] = format!("{key}: {}", self.of(&VALUES));
                }
            }
            // A key that is nearly another.
            _ => {
                let place = lines[line].find(|c: char| c.is_ascii_alphabetic());
                lines[line].insert(place.unwrap_or(0), 'x');
            }
        }
        lines.join("\n") + "\n"
    }
}

#[test]
fn each_is_read_or_refused_with_its_place() {
    for good in GOOD {
        policy_file::parse("good.yaml", good).unwrap_or_else(|error| panic!("{error}"));
    }
    let mut hand = Hand(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut refused) = (0, BTreeMap::new());
    for good in GOOD {
        for nth in 0..160 {
            let mut bad = hand.spoil(good);
            for _ in 0..nth % 3 {
                bad = hand.spoil(&bad);
            }
            // Shown by the test runner only if what follows panics.
            println!("--- {nth}\n{bad:?}");
            match policy_file::parse("bad.yaml", &bad) {
                Ok(file) => {
                    is_right(&file, &bad);
                    read += 1;
                }
                Err(error) => {
                    has_its_place(&error, &bad);
                    *refused.entry(error.message).or_insert(0) += 1;
                }
            }
        }
    }
    let kinds = refused.len();
    let refused: usize = refused.values().sum();
    assert!(
        read > 100 && refused > 300 && kinds > 50,
        "{read} read, {refused} refused for {kinds} reasons"
    );
}

/// Every rule that stands in the file is in force, and nothing else.
fn is_right(file: &policy_file::File, text: &str) {
    // What is mended is no YAML as it stands.
    let Ok(value) = serde_yaml::from_str::<serde_yaml::Value>(text) else {
        return;
    };
    let written = value
        .get("rules")
        .and_then(|rules| rules.as_sequence())
        .map_or(0, Vec::len);
    assert_eq!(file.rules.len(), written);
}

fn has_its_place(error: &policy_file::FileError, text: &str) {
    let lines = text.split('\n').count();
    assert!((1..=lines + 1).contains(&error.line), "{error}, of {lines} lines");
    assert!(error.column >= 1 && !error.message.is_empty(), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("bad.yaml:{}:{}: ", error.line, error.column))
    );
}
