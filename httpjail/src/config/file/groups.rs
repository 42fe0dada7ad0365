//! Named groups of rules: collects them from the policy file and from the files of `groups-from:`, and replaces each `use:`
//! by the rules of its groups.
//!
//! All files share one name space. A second group of the same name is an error, and so is a group, or a file, that leads back
//! to itself.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::entry::Entry;
use super::error::{FileError, Origin, nearest};
use super::schema::{Groups, GroupsSchema, Schema};
use super::spans::Lines;
use super::text::Text;
use super::values::OneOrMany;
use crate::policy::{Rule, RuleEntry, Source, Warning, lint};

/// Returns the bytes of the file at a path, or why it cannot.
pub type Read<'a> = dyn FnMut(&Path) -> Result<Vec<u8>, String> + 'a;

/// Bounds on the files and rules of one policy.
const FILES_MAX: usize = 100;
const BYTES_MAX: usize = 64 << 20;
const RULES_MAX: usize = 300_000;

/// All groups by name.
pub(super) struct GroupRegistry<'a> {
    read: &'a mut Read<'a>,
    groups: HashMap<String, Rc<Group>>,
    files: HashSet<PathBuf>,
    bytes: usize,
    pub(super) warnings: Vec<Warning>,
    pub(super) texts: Vec<(PathBuf, String)>,
}

/// A list of entries and its position.
struct Group {
    text: Rc<Text>,
    /// The name of the source for rules without a line of their own.
    file: Arc<str>,
    entries: Vec<Entry>,
    lines: Option<Vec<usize>>,
}

impl<'a> GroupRegistry<'a> {
    pub(super) fn new(read: &'a mut Read<'a>, main: &Text) -> GroupRegistry<'a> {
        GroupRegistry {
            read,
            groups: HashMap::new(),
            files: HashSet::from([normal(Path::new(&*main.file))]),
            bytes: main.text.len(),
            warnings: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Adds the groups of a file, and those of the files that it names.
    pub(super) fn take(
        &mut self,
        text: &Rc<Text>,
        lines: &Lines,
        groups: Groups,
        from: OneOrMany,
    ) -> Result<(), FileError> {
        self.take_below(text, lines, groups, from, &mut vec![normal(Path::new(&*text.file))])
    }

    fn take_below(
        &mut self,
        text: &Rc<Text>,
        lines: &Lines,
        groups: Groups,
        from: OneOrMany,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), FileError> {
        let origin = text.origin();
        for (name, entries) in groups.0 {
            if let Some(other) = self.groups.get(&name) {
                let other = &other.text.file;
                return Err(origin.error_at(1, &name, format!("duplicate group `{name}`: {other} has one already")));
            }
            let found = lines
                .items(&format!("groups.{name}"), entries.len())
                .map(<[usize]>::to_vec);
            let file = format!("{}, group {name}", text.file).into();
            let group = self.list(text, file, entries, found);
            self.groups.insert(name, Rc::new(group));
        }
        for named in from.0 {
            let path = normal(&Path::new(&*text.file).parent().unwrap_or(Path::new("")).join(&named));
            if above.contains(&path) {
                let message = format!("{named} takes groups from itself");
                return Err(origin
                    .error_at(1, &named, message)
                    .hinted("put what both need into a third file"));
            }
            if !self.files.insert(path.clone()) {
                continue;
            }
            if self.files.len() > FILES_MAX {
                return Err(origin.error_at(1, &named, format!("groups come from more than {FILES_MAX} files")));
            }
            let bytes = (self.read)(&path)
                .map_err(|error| origin.error_at(1, &named, format!("cannot read {}: {error}", path.display())))?;
            self.bytes += bytes.len();
            if self.bytes > BYTES_MAX {
                let message = format!("the files are larger than {} MiB together", BYTES_MAX >> 20);
                return Err(origin.error_at(1, &named, message));
            }
            let text = Rc::new(Text::new(&path.display().to_string(), bytes)?);
            let (schema, lines): (GroupsSchema, _) = text.read(&mut self.warnings)?;
            self.texts.push((path.clone(), text.text.clone()));
            above.push(path);
            self.take_below(&text, &lines, schema.groups, schema.groups_from, above)?;
            above.pop();
        }
        Ok(())
    }

    /// Returns the rules of the policy file, with each `use:` replaced.
    pub(super) fn rules(
        &mut self,
        text: &Rc<Text>,
        lines: &Lines,
        schema: &mut Schema,
    ) -> Result<Vec<Rule>, FileError> {
        let mut entries = schema.rules.take().unwrap_or_default();
        let mut found = lines.items("rules", entries.len()).map(<[usize]>::to_vec);
        if !schema.uses.0.is_empty() {
            entries.push(Entry::Use(std::mem::take(&mut schema.uses.0)));
            if let Some(found) = &mut found {
                found.push(text.line_of("use"));
            }
        }
        let list = self.list(text, Arc::clone(&text.file), entries, found);
        let mut rules = Vec::new();
        self.expand(&list, &mut Vec::new(), &mut rules)?;
        Ok(rules)
    }

    fn list(&mut self, text: &Rc<Text>, file: Arc<str>, entries: Vec<Entry>, lines: Option<Vec<usize>>) -> Group {
        let group = Group {
            text: Rc::clone(text),
            file,
            entries,
            lines,
        };
        for (index, entry) in group.entries.iter().enumerate() {
            if let Entry::Rule {
                rule,
                empty_methods: true,
            } = entry
            {
                self.warnings.extend(lint::empty_methods(&group.rule(index, rule)));
            }
        }
        group
    }

    fn expand<'g>(
        &'g self,
        group: &'g Group,
        above: &mut Vec<&'g str>,
        rules: &mut Vec<Rule>,
    ) -> Result<(), FileError> {
        for (index, entry) in group.entries.iter().enumerate() {
            match entry {
                Entry::Rule { rule, .. } => rules.push(group.rule(index, rule)),
                Entry::Use(names) => {
                    for name in names {
                        let wrong = |message| {
                            group
                                .text
                                .origin()
                                .error_at(group.line(index).unwrap_or(1), name, message)
                        };
                        let (name, used) = self.groups.get_key_value(name).ok_or_else(|| {
                            let mut names: Vec<&str> = self.groups.keys().map(String::as_str).collect();
                            names.sort_unstable();
                            let hint = match names.is_empty() {
                                true => {
                                    Some("groups stand below `groups:`, or in the files of `groups-from:`".to_owned())
                                }
                                false => nearest(name, names.into_iter()),
                            };
                            let error = wrong(format!("unknown group `{name}`"));
                            FileError { hint, ..error }
                        })?;
                        if above.contains(&name.as_str()) {
                            return Err(wrong(format!("the group `{name}` uses itself")));
                        }
                        above.push(name);
                        self.expand(used, above, rules)?;
                        above.pop();
                    }
                }
            }
            if rules.len() > RULES_MAX {
                let line = group.line(index).unwrap_or(1);
                return Err(Origin::error(
                    &group.text.origin(),
                    line,
                    1,
                    format!("more than {RULES_MAX} rules"),
                ));
            }
        }
        Ok(())
    }
}

impl Group {
    fn line(&self, index: usize) -> Option<usize> {
        self.lines.as_ref().and_then(|lines| lines.get(index).copied())
    }

    fn rule(&self, index: usize, entry: &RuleEntry) -> Rule {
        let line = self.line(index);
        let file = if line.is_some() { &self.text.file } else { &self.file };
        let source = Source::File {
            file: Arc::clone(file),
            number: index + 1,
            line,
        };
        entry.rule(source)
    }
}

/// Removes `.` from a path, so that one file has one name. It keeps `..`, which leads elsewhere behind a link.
fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}
