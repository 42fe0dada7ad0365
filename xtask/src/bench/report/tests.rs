use super::*;

fn row(aim: Aim, ours: &[f64], peer: &[f64]) -> Row {
    Row {
        goal: "G2",
        work: "work".into(),
        unit: "us",
        contestants: vec![
            Samples::new("httpjail", Role::Ours, ours.to_vec()),
            Samples::new("haproxy", Role::Peer, peer.to_vec()),
            Samples::new("direct", Role::Limit, vec![1.0; ours.len()]),
        ],
        aim,
        notes: vec!["a note".into()],
    }
}

fn remarks() -> Remarks {
    Remarks {
        rounds: 3,
        quick: false,
        versions: vec!["haproxy 2".into()],
        commands: vec!["haproxy: haproxy -db".into()],
    }
}

#[test]
fn an_aim_is_judged_by_the_ratio_to_what_it_names() {
    let at_most = |ratio| Aim::AtMost { ratio, to: "haproxy" };
    let at_least = |ratio| Aim::AtLeast { ratio, to: "haproxy" };
    let met = |aim| row(aim, &[2.0, 2.0, 9.0], &[2.0, 1.0, 9.0]).met();
    assert_eq!(met(at_most(1.0)), Some(true));
    assert_eq!(met(at_most(0.9)), Some(false));
    assert_eq!(met(at_least(1.0)), Some(true));
    assert_eq!(met(at_least(1.1)), Some(false));
    assert_eq!(met(Aim::AtMostAbsolute(2.0)), Some(true));
    assert_eq!(met(Aim::AtMostAbsolute(1.9)), Some(false));
    assert_eq!(met(Aim::Shown), None);
}

#[test]
fn an_aim_without_its_peer_is_not_measured_and_the_peer_is_named() {
    let aim = Aim::AtMost {
        ratio: 1.0,
        to: "haproxy",
    };
    let row = row(aim, &[1.0], &[]);
    assert_eq!(row.met(), None);
    let cells = row.cells();
    assert_eq!(cells[3], "haproxy missing");
    assert_eq!(cells[7], "not measured");
}

#[test]
fn the_table_has_a_line_for_each_row_with_medians_spread_ratio_and_goal() {
    let aim = Aim::AtMost {
        ratio: 1.1,
        to: "haproxy",
    };
    let text = table(&[row(aim, &[12.0, 11.0, 14.0], &[10.0, 10.0, 10.0])]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    let cells: Vec<&str> = lines[2].split('|').map(str::trim).collect();
    assert_eq!(
        cells,
        [
            "",
            "G2",
            "work: us",
            "httpjail 12.0 (11.0..14.0)",
            "haproxy 10.0 (10.0..10.0)",
            "direct 1.00 (1.00..1.00)",
            "1.20x haproxy",
            "<= 1.1x haproxy",
            "no",
            ""
        ]
    );
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
}

#[test]
fn the_report_has_the_raw_rounds_the_versions_the_commands_and_what_failed() {
    let mut row = row(Aim::Shown, &[3.0, 2.0, 1.0], &[4.0]);
    row.contestants[0].also.push(("requests/s", vec![7.0, 8.0, 9.0]));
    let text = text(&[row], &remarks(), &["G9: no socat".into()]);
    for wanted in [
        "httpjail: us 3.00 2.00 1.00",
        "requests/s 7.00 8.00 9.00",
        "a note",
        "haproxy 2",
        "haproxy: haproxy -db",
        "not measured: G9: no socat",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
}

#[test]
fn the_json_says_the_same_as_the_table() {
    let aim = Aim::AtLeast {
        ratio: 2.0,
        to: "haproxy",
    };
    let text = json(&[row(aim, &[3.0], &[1.0])], &remarks());
    let value: Value = serde_json::from_str(&text).unwrap();
    let row = &value["rows"][0];
    assert_eq!(row["met"], true);
    assert_eq!(row["ratio"], 3.0);
    assert_eq!(row["contestants"][1]["rounds"][0], 1.0);
}
