//! The report as a picture: for each row, how its contestants compare with the one that the aim names.
//!
//! Bars and text are all that it needs, which is less than a crate for plots would.

use std::fmt::Write as _;

use super::report::{Aim, Role, Row, Samples};
use super::stats::{ratio, short};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 120.0;
const BAR: f64 = 14.0;
const GAP: f64 = 12.0;
/// What is longer is cut off, and has its number beside it.
const LONGEST: f64 = 4.0;

/// An SVG image.
pub(super) fn svg(rows: &[Row]) -> String {
    let mut body = String::new();
    let mut y = GAP;
    for row in rows {
        y += BAR;
        let met = match row.met() {
            Some(true) => ", met",
            Some(false) => ", not met",
            None => "",
        };
        let title = format!("{} {} ({}){met}", row.goal, row.work, row.unit);
        let _ = writeln!(
            body,
            r#"<text x="8" y="{y}" font-weight="bold">{}</text>"#,
            escape(&title)
        );
        y += GAP / 2.0;
        let top = y;
        for one in &row.contestants {
            bar(&mut body, row, one, y);
            y += BAR + 2.0;
        }
        if let Aim::AtMost { ratio, .. } | Aim::AtLeast { ratio, .. } = row.aim {
            let x = place(ratio);
            let _ = writeln!(
                body,
                r##"<line x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{y}" stroke="#c00" stroke-dasharray="3 2"/>"##
            );
        }
        y += GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn bar(body: &mut String, row: &Row, one: &Samples, y: f64) {
    let base = y + BAR - 3.0;
    let name = escape(&one.name);
    let _ = writeln!(
        body,
        r#"<text x="{}" y="{base}" text-anchor="end">{name}</text>"#,
        LEFT - 6.0
    );
    let color = match one.role {
        Role::Ours => "#27c",
        Role::Peer => "#999",
        Role::Limit => "#ccc",
    };
    let to = row.compared_with().map(|to| to.rounds.as_slice()).unwrap_or_default();
    let Some(ratio) = ratio(&one.rounds, to).filter(|ratio| ratio.is_finite()) else {
        let _ = writeln!(body, r#"<text x="{LEFT}" y="{base}">{}</text>"#, escape(&one.short()));
        return;
    };
    let end = place(ratio);
    let _ = writeln!(
        body,
        r#"<rect x="{LEFT}" y="{y}" width="{:.1}" height="{BAR}" fill="{color}"/><text x="{:.1}" y="{base}">{}x, {}</text>"#,
        end - LEFT,
        end + 4.0,
        short(ratio),
        escape(&one.short())
    );
}

fn place(ratio: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT - 60.0) * ratio.clamp(0.0, LONGEST) / LONGEST
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_bar_for_each_contestant_a_line_for_the_aim_and_a_missing_one_is_named() {
        let row = Row {
            goal: "G3",
            work: "0 B & <1 KB".into(),
            unit: "us",
            contestants: vec![
                Samples::new("httpjail", Role::Ours, vec![2.0]),
                Samples::new("haproxy", Role::Peer, vec![1.0]),
                Samples::missing("squid", Role::Peer),
            ],
            aim: Aim::AtMost {
                ratio: 1.0,
                to: "haproxy",
            },
            notes: Vec::new(),
        };
        let svg = svg(&[row]);
        assert_eq!(svg.matches("<rect x=").count(), 2, "{svg}");
        assert_eq!(svg.matches("<line").count(), 1, "{svg}");
        assert!(svg.contains("0 B &amp; &lt;1 KB (us), not met"), "{svg}");
        assert!(svg.contains(">missing<"), "{svg}");
    }
}
