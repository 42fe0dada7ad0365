//! Labels of a run: `KEY=VALUE`, for logs and metrics.

use std::collections::BTreeMap;

use super::error::ConfigError;

/// More would be a data base.
const MOST: usize = 16;
const KEY_MAX: usize = 63;
const VALUE_MAX: usize = 253;

/// Parses labels. Of two with the same key the later one counts.
pub(super) fn parse(texts: &[String]) -> Result<BTreeMap<String, String>, ConfigError> {
    let read = |text: &String| read(text).ok_or_else(|| ConfigError::Label(text.clone()));
    let labels: BTreeMap<String, String> = texts.iter().map(read).collect::<Result<_, _>>()?;
    if labels.len() > MOST {
        return Err(ConfigError::Labels(MOST));
    }
    Ok(labels)
}

fn read(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let good = (1..=KEY_MAX).contains(&key.len())
        && key.bytes().all(plain)
        && key.starts_with(|first: char| first.is_ascii_alphabetic())
        && value.len() <= VALUE_MAX
        && !value.chars().any(char::is_control);
    good.then(|| (key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_keys_and_values() {
        let texts = ["team=a", "env=x=y", "kubernetes.io/pod=web-1", "team=b", "none="].map(str::to_owned);
        let labels = parse(&texts).expect("labels");
        let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (&**key, &**value)).collect();
        let expected = [
            ("env", "x=y"),
            ("kubernetes.io/pod", "web-1"),
            ("none", ""),
            ("team", "b"),
        ];
        assert_eq!(labels, expected);
    }

    #[test]
    fn what_is_no_label_is_refused() {
        let long = format!("k={}", "v".repeat(VALUE_MAX + 1));
        for text in ["", "team", "=a", "1=a", "a b=c", "a=b\nc", "ä=b", "a\"=b", &long] {
            assert_eq!(parse(&[text.to_owned()]), Err(ConfigError::Label(text.to_owned())));
        }
        let many: Vec<String> = (0..=MOST).map(|number| format!("k{number}=v")).collect();
        assert_eq!(parse(&many), Err(ConfigError::Labels(MOST)));
        assert!(parse(&many[1..]).is_ok());
    }
}
