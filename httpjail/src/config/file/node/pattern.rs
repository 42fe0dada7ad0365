//! Paths of cgroups, in which `*` stands for any part of one name.

use std::fmt;

/// The root cgroup is at level 0, what is right below it at 1. No cgroup further down can be held (`jail::attach::closed`).
const DEEPEST: usize = 12;

/// A path below the root of the cgroup tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<String>);

impl Pattern {
    /// Reads `agents.slice/*`, with or without a `/` before it.
    ///
    /// # Errors
    /// Returns a message for what is no path of a cgroup.
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        let wrong = |why: &str| Err(format!("invalid cgroup `{}`: {why}", text.escape_debug()));
        let path = text.strip_prefix('/').unwrap_or(text);
        let names: Vec<&str> = path.split('/').collect();
        if path.starts_with("sys/fs/cgroup") {
            return wrong("it is named from the root of the cgroup tree on, as /proc/PID/cgroup does");
        }
        if names
            .iter()
            .any(|name| name.is_empty() || [".", "..", "**"].contains(name))
        {
            return wrong("expected names with `/` between them; `*` stands for any part of one name");
        }
        if names.len() > DEEPEST {
            return wrong("a cgroup that far down cannot be held");
        }
        Ok(Pattern(names.into_iter().map(str::to_owned).collect()))
    }

    /// Returns the names, from the root on.
    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }

    /// How many `*` there are.
    pub(crate) fn stars(&self) -> usize {
        self.0.iter().map(|name| name.matches('*').count()).sum()
    }

    /// Returns what each `*` stands for, if it matches the whole path.
    pub(crate) fn matched<'n>(&self, path: &[&'n str]) -> Option<Vec<&'n str>> {
        if path.len() != self.0.len() {
            return None;
        }
        let parts = self.0.iter().zip(path).map(|(pattern, name)| Self::part(pattern, name));
        parts.collect::<Option<Vec<_>>>().map(|parts| parts.concat())
    }

    /// Returns true if it matches the path, or something below it.
    pub(crate) fn reaches(&self, path: &[&str]) -> bool {
        path.len() <= self.0.len()
            && self
                .0
                .iter()
                .zip(path)
                .all(|(pattern, name)| Self::part(pattern, name).is_some())
    }

    /// Matches one name. The first way that fits counts, with each `*` as short as can be.
    pub(crate) fn part<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
        let Some((before, rest)) = pattern.split_once('*') else {
            return (pattern == name).then(Vec::new);
        };
        let tail = name.strip_prefix(before)?;
        let ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
        ends.into_iter().find_map(|end| {
            let mut others = Self::part(rest, &tail[end..])?;
            others.insert(0, &tail[..end]);
            Some(others)
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_parts_of_one_name() {
        let matched = |pattern: &str, path: &str| {
            let path: Vec<&str> = path.split('/').collect();
            let parts = Pattern::parse(pattern).expect("a pattern").matched(&path)?;
            Some(parts.join(","))
        };
        assert_eq!(matched("agents.slice/*", "agents.slice/a").as_deref(), Some("a"));
        assert_eq!(matched("/agents.slice/*", "agents.slice/a").as_deref(), Some("a"));
        assert_eq!(matched("a/*.service", "a/web.service").as_deref(), Some("web"));
        assert_eq!(matched("a/x-*-*", "a/x-1-2-3").as_deref(), Some("1,2-3"));
        assert_eq!(matched("*/*", "a/b").as_deref(), Some("a,b"));
        assert_eq!(matched("a/b", "a/b").as_deref(), Some(""));
        for (pattern, path) in [
            ("a/*", "a"),
            ("a/*", "a/b/c"),
            ("a/*", "b/c"),
            ("a/*.service", "a/web.scope"),
            ("a/b", "a/bc"),
        ] {
            assert_eq!(matched(pattern, path), None, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "/",
            "a//b",
            "a/",
            "a/../b",
            "./a",
            "a/**",
            "/sys/fs/cgroup/a",
            "a/b/c/d/e/f/g/h/i/j/k/l/m",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse("a/b/c/d/e/f/g/h/i/j/k/l").is_ok());
    }

    #[test]
    fn it_reaches_what_is_above_its_matches() {
        let pattern = Pattern::parse("pods/*/c-*").expect("a pattern");
        for (path, reached) in [
            ("pods", true),
            ("pods/x", true),
            ("pods/x/c-1", true),
            ("pods/x/d", false),
            ("x", false),
        ] {
            assert_eq!(pattern.reaches(&path.split('/').collect::<Vec<_>>()), reached, "{path}");
        }
    }
}
