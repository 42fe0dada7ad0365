//! Keys, screens and prompts, without a terminal.

use super::keys::Keys;
use super::prompt::{Choice, Frame, Prompt, Typed};
use super::screen::Screen;
use crate::approve::grant::GrantScope;
use crate::approve::request::{ApprovalRequest, Requester};
use crate::net::Ancestor;

fn keys(input: &str) -> String {
    let mut keys = Keys::default();
    input
        .bytes()
        .filter_map(|byte| keys.take(byte))
        .map(char::from)
        .collect()
}

#[test]
fn only_keys_are_keys() {
    for (input, left) in [
        ("y\r", "y\r"),
        // Where the cursor is, which terminal this is, a color, a title, a setting: what a terminal says by itself.
        ("\x1b[12;40Ry\r", "y\r"),
        ("\x1b[?1;2c\x1b[>0;95;0cn", "n"),
        ("\x1b]11;rgb:ffff/ffff/ffff\x1b\\n", "n"),
        ("\x1b]11;rgb:ffff/ffff/ffff\x07n", "n"),
        ("\x1b]lru\r\x1b\\n", "n"),
        ("\x1bP1$r0m\x1b\\n", "n"),
        ("\x1b_Gi=1;OK\x1b\\n", "n"),
        // Arrows and function keys.
        ("\x1b[A\x1bOPy", "y"),
        // A paste.
        ("\x1b[200~ru\ry\r\x1b[201~n", "n"),
        ("\x1b[200~\x1b[31mru\r", ""),
        // A sequence without an end swallows all but ^C, which then does nothing else.
        ("\x1b]y\ry\r\x03n", "n"),
    ] {
        assert_eq!(keys(input), left, "{input:?}");
    }
}

#[test]
fn a_lone_escape_does_not_eat_the_next_key_for_ever() {
    let mut keys = Keys::default();
    assert_eq!(keys.take(0x1b), None);
    keys.settle();
    assert_eq!(keys.take(b'y'), Some(b'y'));
}

/// What is passed on of these pieces, one after the other.
fn passed(pieces: &[&str]) -> Vec<String> {
    let mut screen = Screen::new();
    let mut pass = |piece: &&str| {
        let mut out = Vec::new();
        screen.pass(piece.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    pieces.iter().map(&mut pass).collect()
}

#[test]
fn sequences_are_passed_on_whole() {
    for (pieces, out) in [
        (&["a\x1b[3", "1mb"][..], &["a", "\x1b[31mb"][..]),
        (&["\x1b", "]0;t", "itle\x07x"], &["", "", "\x1b]0;title\x07x"]),
        (&["\x1b(", "0q"], &["", "\x1b(0q"]),
        (&["x\x1b]52;c;\x1b", "\\y"], &["x", "\x1b]52;c;\x1b\\y"]),
    ] {
        assert_eq!(passed(pieces), out, "{pieces:?}");
    }
    // But not at any length.
    let long = format!("\x1b]52;c;{}", "A".repeat(1000));
    assert_eq!(passed(&[&long, "B", "\x07"]), [long.as_str(), "", "B\x07"]);
}

/// What a program wrote, and what it takes to give the screen back to it.
#[track_caller]
fn check_screen(written: &str, other: bool, modes: &[&str]) {
    let mut screen = Screen::new();
    screen.pass(written.as_bytes(), &mut Vec::new());
    assert_eq!(screen.is_other(), other, "{written:?}");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (mut taken, mut given) = (Vec::new(), Vec::new());
    screen.take_over(&mut taken);
    screen.give_back(&mut given);
    let (taken, given) = (text(taken), text(given));
    assert!(
        taken.starts_with("\x18\x1b\\"),
        "an unfinished sequence is cut off: {taken:?}"
    );
    assert_eq!(taken.contains("\x1b[?1049h"), !other, "{taken:?}");
    assert_eq!(given.contains("\x1b[?1049l"), !other, "{given:?}");
    for mode in modes {
        assert!(
            given.ends_with(mode) || given.contains(&format!("{mode}\x1b")),
            "no {mode:?} in {given:?}"
        );
    }
}

#[test]
fn the_screen_is_given_back_as_it_was() {
    check_screen("", false, &["\x1b[?25h"]);
    check_screen("\x1b[?1049h\x1b[?25l", true, &["\x1b[?25l"]);
    check_screen("\x1b[?1049h\x1b[?1049l", false, &["\x1b[?25h"]);
    check_screen("\x1b[?1049;1002;1006h", true, &["\x1b[?1002h", "\x1b[?1006h"]);
    check_screen("\x1b[?2004h\x1b[?25l\x1bc", false, &["\x1b[?25h"]);
    check_screen("\x1b]0;\x1b[?1049h", true, &[]);
    check_screen("\x1b]0;x", false, &[]);
}

/// What a program may have switched on so that a prompt is not seen as it is written, or one Enter counts as two.
#[test]
fn the_screen_is_taken_as_a_plain_one() {
    let mut screen = Screen::new();
    screen.pass(b"\x1b[?69h\x1b[1;9s", &mut Vec::new());
    let (mut taken, mut given) = (Vec::new(), Vec::new());
    screen.take_over(&mut taken);
    screen.give_back(&mut given);
    let (taken, given) = (String::from_utf8(taken).unwrap(), String::from_utf8(given).unwrap());
    for off in ["\x1b[4i", "\x1b<", "\x1b[?69l", "\x1b[?6l", "\x1b[20l", "\x1b[4l"] {
        assert!(taken.contains(off), "no {off:?} in {taken:?}");
    }
    // Before the first control sequence, which would be none for a VT52.
    assert!(taken.find("\x1b<") < taken.find("\x1b[?"), "{taken:?}");
    assert!(given.contains("\x1b[?69h"), "{given:?}");
}

const FRAME: Frame<'_> = Frame {
    mark: "1a2b",
    file: Some("/home/u/rules.yaml"),
    waiting: 1,
};

fn request(url: &str) -> ApprovalRequest {
    ApprovalRequest {
        method: "GET".into(),
        url: url.into(),
        scheme: "https".into(),
        host: "a.test".into(),
        port: 443,
        path: url.strip_prefix("https://a.test").unwrap().into(),
        program: Some(Requester {
            pid: 7,
            exe: Some("/usr/bin/x\x1b[2J\u{202e}\n  y        allow".into()),
            comm: "x".into(),
            parents: vec![Ancestor {
                pid: 6,
                name: "/bin/sh".into(),
            }],
        }),
    }
}

/// The text of every page, line by line, without the last line.
fn pages(prompt: &mut Prompt, rows: usize) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut out = Vec::new();
        prompt.draw(FRAME, true, &mut out);
        let text = String::from_utf8(out).unwrap();
        let bottom = format!("\x1b[{rows};1H\x1b[K");
        for row in text.split("\x1b[").skip(1) {
            if let Some((place, line)) = row.split_once('H')
                && place.ends_with(";1")
                && !place.starts_with("1;")
                && !line.is_empty()
            {
                lines.push(line.to_owned());
            }
        }
        if !text.split(&bottom).last().unwrap().starts_with("page ") {
            return lines;
        }
        assert_eq!(prompt.take(b'y'), Typed::Nothing, "no answer before the last page");
        assert_eq!(prompt.take(b'\r'), Typed::Page);
    }
}

// Proves on ebpf, netns, rootless: K07.
#[test]
fn the_whole_url_is_shown() {
    for length in [1, 60, 500, 3000] {
        for (rows, columns) in [(24, 80), (8, 40)] {
            let url = format!("https://a.test/{}/end", "p".repeat(length));
            let Some(mut prompt) = Prompt::new(&request(&url), FRAME, rows, columns) else {
                assert!(length == 3000 && rows == 8, "{length} {rows}");
                continue;
            };
            let lines = pages(&mut prompt, rows);
            assert!(lines.iter().all(|line| line.chars().count() < columns), "{lines:#?}");
            let from = lines.iter().position(|line| line.starts_with("url ")).unwrap();
            let to = lines.iter().position(|line| line.starts_with("program ")).unwrap();
            let shown: String = lines[from..to].iter().map(|line| &line[11..]).collect();
            assert_eq!(shown, url);
            let host = lines.iter().position(|line| line == "host       a.test").unwrap();
            assert!(host < from);
        }
    }
}

// Proves on ebpf, netns, rootless: K07.
#[test]
fn a_name_cannot_look_like_a_line_of_ours() {
    let mut prompt = Prompt::new(&request("https://a.test/"), FRAME, 24, 80).unwrap();
    let lines = pages(&mut prompt, 24);
    let text = lines.join("\n");
    assert!(text.contains(r"/usr/bin/x\u{1b}[2J\u{202e}\u{a}"), "{text}");
    let offers = lines.iter().filter(|line| line.starts_with("  y ")).count();
    assert_eq!(offers, 1, "{text}");
}

fn answer(typed: &str) -> Option<Choice> {
    let mut prompt = Prompt::new(&request("https://a.test/x"), FRAME, 40, 100).unwrap();
    typed.bytes().find_map(|key| match prompt.take(key) {
        Typed::ApprovalDecision(choice) => Some(choice),
        _ => None,
    })
}

#[test]
fn answers() {
    for (typed, choice) in [
        ("y\r", Some(Choice::Once)),
        ("ru\r", Some(Choice::Run(GrantScope::Url))),
        ("rp\r", Some(Choice::Run(GrantScope::Prefix))),
        ("rh\n", Some(Choice::Run(GrantScope::Host))),
        ("au\r", Some(Choice::Always(GrantScope::Url))),
        ("ap\r", Some(Choice::Always(GrantScope::Prefix))),
        ("ah\r", Some(Choice::Always(GrantScope::Host))),
        ("n\r", Some(Choice::Deny)),
        ("d\r", Some(Choice::DenyRun)),
        ("x\x7fy\r", Some(Choice::Once)),
        ("xx\x15y\r", Some(Choice::Once)),
        ("\x03", Some(Choice::Deny)),
        ("y", None),
        ("\r", None),
        ("yes\r", None),
        ("Y\r", None),
        ("zzz\ry\r", Some(Choice::Once)),
    ] {
        assert_eq!(answer(typed), choice, "{typed:?}");
    }
}

#[test]
fn always_is_offered_where_it_can_be_written() {
    let offered = |method: &str, file| {
        let mut request = request("https://a.test/x");
        request.method = method.into();
        let mut prompt = Prompt::new(&request, Frame { file, ..FRAME }, 40, 100).unwrap();
        let text = pages(&mut prompt, 40).join("\n");
        (text.contains("au ap ah"), text.contains("  ah "))
    };
    assert_eq!(offered("GET", FRAME.file), (true, false));
    assert_eq!(offered("PROPFIND", FRAME.file), (false, true));
    assert_eq!(offered("GET", None), (false, false));
    assert_eq!(answer_without_file("ah\r"), None);
}

fn answer_without_file(typed: &str) -> Option<Choice> {
    let frame = Frame { file: None, ..FRAME };
    let mut prompt = Prompt::new(&request("https://a.test/x"), frame, 40, 100).unwrap();
    typed.bytes().find_map(|key| match prompt.take(key) {
        Typed::ApprovalDecision(choice) => Some(choice),
        _ => None,
    })
}

#[test]
fn a_screen_that_is_too_small_shows_nothing() {
    assert!(Prompt::new(&request("https://a.test/"), FRAME, 5, 80).is_none());
    assert!(Prompt::new(&request("https://a.test/"), FRAME, 24, 20).is_none());
    assert!(Prompt::new(&request("https://a.test/"), FRAME, 24, 80).is_some());
}
