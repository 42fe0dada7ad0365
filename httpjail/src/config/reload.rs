//! Makes a new policy of a policy file that has changed. The rules of the command line still come first.
//!
//! Only rules are reloaded. Options hold for the whole run; if the file has other options now, the user is told.

use std::path::{Path, PathBuf};

use super::file::{self, File, Limits, Logging};
use super::overrides::Overrides;
use super::typed_rules::typed_rules;
use crate::net::HostPattern;
use crate::policy::{Policy, Warning, lint};

/// What a reload needs: the rules of the command line, and what the file said at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reload {
    /// The policy file's text, and those of the files that it takes groups from, each with its path.
    pub texts: Vec<(PathBuf, String)>,
    typed: Vec<String>,
    options: Overrides,
    logging: Logging,
    limits: Limits,
    passthrough: Vec<HostPattern>,
}

/// A reloaded policy.
#[derive(Debug)]
pub(crate) struct Reloaded {
    pub policy: Policy,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

impl Reload {
    pub(super) fn new(typed: &[String], file: &File) -> Reload {
        Reload {
            texts: file.texts.clone(),
            typed: typed.to_vec(),
            options: file.options.clone(),
            logging: file.logging.clone(),
            limits: file.limits.clone(),
            passthrough: file.passthrough.clone(),
        }
    }

    /// Makes the policy of these texts. The first is that of the policy file.
    ///
    /// # Errors
    /// Returns a message for the user if the texts are not a policy.
    pub(crate) fn policy(&self, texts: Vec<(PathBuf, String)>) -> Result<Reloaded, String> {
        let (name, main) = texts.first().cloned().ok_or("there is no policy file")?;
        let mut read = |path: &Path| {
            let found = texts.iter().find(|(name, _)| name == path);
            let text = found.map(|(_, text)| text.clone().into_bytes());
            text.ok_or_else(|| "it is not among the files that were read".to_owned())
        };
        let file =
            file::load(&name.display().to_string(), main.into_bytes(), &mut read).map_err(|error| {
                match &error.hint {
                    Some(hint) => format!("{error}\nhint: {hint}"),
                    None => error.to_string(),
                }
            })?;
        let mut warnings = file.warnings;
        let same = file.options == self.options
            && file.logging == self.logging
            && file.limits == self.limits
            && file.passthrough == self.passthrough;
        if !same {
            warnings.push(Warning::new(
                format!(
                    "{} has other options than at the start, which stay as they were",
                    name.display()
                ),
                "rules alone are reloaded; start httpjail again for the options",
            ));
        }
        let mut rules = typed_rules(&self.typed).map_err(|error| error.to_string())?;
        rules.extend(file.rules);
        let policy = Policy::new(rules);
        warnings.extend(lint::warnings(&policy));
        Ok(Reloaded { policy, warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(main: &str) -> Vec<(PathBuf, String)> {
        let group = "groups:\n  g:\n  - {action: allow, host: g.test}\n";
        vec![("r.yaml".into(), main.into()), ("g.yaml".into(), group.into())]
    }

    fn reload() -> Reload {
        let file = file::parse("r.yaml", "dns: off\nrules:\n- {action: deny, host: a.test}\n").expect("a file");
        Reload::new(&["deny: ^https://t\\.test/".into()], &file)
    }

    fn rules(main: &str) -> Result<Vec<String>, String> {
        let reloaded = reload().policy(texts(main))?;
        Ok(reloaded.policy.rules().map(|(_, rule)| rule.to_string()).collect())
    }

    #[test]
    fn rules_are_new_and_typed_ones_stay_first() {
        let new = "dns: off\ngroups-from: g.yaml\nrules:\n- {action: allow, host: b.test}\nuse: g\n";
        let expected = [r"deny: ^https://t\.test/", "allow: host b.test", "allow: host g.test"];
        assert_eq!(rules(new), Ok(expected.map(str::to_owned).to_vec()));
        assert_eq!(reload().policy(texts(new)).expect("a policy").warnings, []);
    }

    // Proves: H06.
    #[test]
    fn a_wrong_file_is_none() {
        let error = rules("rulez: []\n").expect_err("wrong");
        assert!(error.starts_with("r.yaml:1:1: unknown key `rulez`"), "{error}");
        assert!(error.ends_with("hint: did you mean `rules`?"), "{error}");
        assert!(rules("groups-from: h.yaml\n").is_err_and(|error| error.contains("not among")));
        assert!(reload().policy(Vec::new()).is_err());
    }

    #[test]
    fn other_options_are_told_of() {
        for other in [
            "dns: relay\n",
            "dns: off\nlogging: {level: info}\n",
            "dns: off\nlimits: {grace: 1}\n",
            "dns: off\ntls: {passthrough: p.test}\n",
            "",
        ] {
            let warnings = reload().policy(texts(other)).expect("a policy").warnings;
            assert!(
                warnings.iter().any(|warning| warning.message.contains("other options")),
                "{other}"
            );
        }
    }
}
