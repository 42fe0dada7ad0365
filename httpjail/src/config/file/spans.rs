//! Finds the line on which each item of a list begins, because the YAML library does not report it.
//!
//! It searches the text for lists in block style, in which policies are written. If it sees another number of items than the
//! library has read, or if several items share a line, it reports no lines for that list.

use std::collections::HashMap;

/// The lines of the items, by the name of the list.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<String, Vec<usize>>);

/// The list that is being read.
struct List {
    name: String,
    indent: Option<usize>,
}

impl Lines {
    /// Reads `rules:` and `tests:`, and each group as `groups.NAME`.
    pub(super) fn of(text: &str) -> Lines {
        let mut lines = Lines::default();
        let mut list: Option<List> = None;
        // Inside `groups:`, and how far its names are indented.
        let mut groups: Option<Option<usize>> = None;
        for (index, line) in text.lines().enumerate() {
            let item = line.trim_start();
            let depth = line.len() - item.len();
            if item.is_empty() || item.starts_with('#') {
                continue;
            }
            if item.starts_with("- ") || item.trim_end() == "-" {
                if let Some(list) = &mut list
                    && *list.indent.get_or_insert(depth) == depth
                {
                    lines.0.entry(list.name.clone()).or_default().push(index + 1);
                }
                continue;
            }
            let named = |name: String| Some(List { name, indent: None });
            if depth == 0 {
                let key = key(item).unwrap_or_default();
                groups = (key == "groups").then_some(None);
                list = named(key.to_owned()).filter(|_| groups.is_none());
            } else if let Some(indent) = &mut groups
                && *indent.get_or_insert(depth) == depth
            {
                list = key(item).and_then(|name| named(format!("groups.{name}")));
            }
        }
        lines
    }

    /// Returns the line of each of `count` items, from 1.
    pub(super) fn items(&self, list: &str, count: usize) -> Option<&[usize]> {
        let lines = self.0.get(list)?;
        (lines.len() == count).then_some(lines.as_slice())
    }
}

/// What stands before the colon, without quotes.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    let key = key.trim_end();
    let bare = |quote: char| key.strip_prefix(quote)?.strip_suffix(quote);
    Some(bare('"').or_else(|| bare('\'')).unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_lists() {
        for (text, list, lines) in [
            ("rules:\n- a: 1\n- a: 2\n", "rules", Some(vec![2, 3])),
            (
                "# x\nlog: y\nrules: # z\n\n  - a: 1\n    b: 2\n  # c\n  - a: 2\nlogging:\n  - x\n",
                "rules",
                Some(vec![5, 8]),
            ),
            ("rules:\r\n  -\r\n    a: 1\r\n  - b: 2\r\n", "rules", Some(vec![2, 4])),
            (
                "rules:\n  - methods:\n    - get\n    - post\n  - a: 2\n",
                "rules",
                Some(vec![2, 5]),
            ),
            (
                "\"rules\":\n  - a\n  - methods:\n      - get\n",
                "rules",
                Some(vec![2, 3]),
            ),
            ("rules: [{a: 1}, {a: 2}]\n", "rules", None),
            ("{rules: [{a: 1}, {a: 2}]}", "rules", None),
            ("", "rules", None),
            ("rules:\n- a\ntests:\n- b\n- c\n", "tests", Some(vec![4, 5])),
            (
                "groups:\n  x:\n  - a\n  y:\n    # z\n    - a\n    - methods:\n        - get\nrules:\n- a\n",
                "groups.y",
                Some(vec![6, 7]),
            ),
            (
                "groups:\n  'x':\n    - a: b\n      c: d\n    - e\n",
                "groups.x",
                Some(vec![3, 5]),
            ),
            ("groups: {x: [a, b]}\nuse:\n- a\n- b\n", "groups.x", None),
        ] {
            assert_eq!(Lines::of(text).items(list, 2).map(<[usize]>::to_vec), lines, "{text}");
        }
        assert_eq!(Lines::of("rules:\n- a: 1\n- a: 2\n").items("rules", 3), None);
    }
}
