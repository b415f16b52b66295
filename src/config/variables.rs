//! Environment variables: `DUNLIN_SECTION__KEY`, and `DUNLIN_CONFIG` for the file.
//!
//! Always holds: a variable that looks like a setting (two underscores in a row) and is none is a problem. Names with
//! single underscores are left alone: Kubernetes sets `DUNLIN_PORT` and its like for a service called dunlin.

use std::{ffi::OsString, path::PathBuf};

use super::{
    error::{Problem, Source},
    layers::{Given, Layer, ROWS},
    suggest,
};
use crate::settings::Setting;

/// The variable that names the configuration file.
pub(super) const FILE_VARIABLE: &str = "DUNLIN_CONFIG";

/// What the environment says.
pub(super) struct Variables {
    pub(super) layer: Layer,
    pub(super) file: Option<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn read(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    let mut variables = Variables { layer: Layer::empty(), file: None, problems: Vec::new() };
    let mut environment: Vec<_> = environment.into_iter().collect();
    // The environment has no order of its own.
    environment.sort();
    for (name, value) in environment {
        // A name that is no UTF-8 cannot begin a name of ours that matters.
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix("DUNLIN_") else { continue };
        let source = Source::Variable(name.to_owned());
        if name == FILE_VARIABLE {
            if value.is_empty() {
                variables.problems.push(Problem::new(&source, "is empty: name a file, or unset it to read none"));
            } else {
                variables.file = Some(PathBuf::from(value));
            }
            continue;
        }
        let problem = match (ROWS.iter().position(|row| is_called(row, name)), value.into_string()) {
            (Some(index), Ok(text)) => variables.layer.set(index, Given { texts: vec![text], source }).err(),
            (Some(_), Err(_)) => Some(Problem::new(&source, "the value is not UTF-8")),
            (None, _) if rest.contains("__") => {
                let text = format!("no setting has this variable; {}", suggest::for_variable(name));
                Some(Problem::new(&source, text))
            }
            (None, _) => None,
        };
        variables.problems.extend(problem);
    }
    variables
}

fn is_called(row: &Setting, name: &str) -> bool {
    let in_other_section = || row.also_in.map(|section| row.variable_in(section));
    row.variable().is_some_and(|variable| variable == name) || in_other_section().is_some_and(|other| other == name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read_all(pairs: &[(&str, &str)]) -> Variables {
        read(pairs.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        read_all(pairs).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_setting_with_a_flag_has_its_variable() {
        for (index, row) in ROWS.iter().enumerate() {
            let Some(variable) = row.variable() else { continue };
            let variables = read_all(&[(&variable, "x")]);
            let given = variables.layer.get(index).expect(row.flag);
            assert_eq!((given.texts[0].as_str(), given.source.to_string()), ("x", variable));
        }
    }

    #[test]
    fn a_misspelled_variable_is_a_problem_and_kubernetes_names_are_not() {
        let pairs = [
            ("DUNLIN_MQTT__MAX_INFLIHGT", "1"),
            ("DUNLIN_PORT", "tcp://10.0.0.1:1883"),
            ("DUNLIN_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ];
        assert_eq!(
            problems(&pairs),
            ["DUNLIN_MQTT__MAX_INFLIHGT: no setting has this variable; did you mean DUNLIN_MQTT__MAX_INFLIGHT?"]
        );
    }

    #[test]
    fn a_setting_of_two_sections_is_given_once() {
        let pairs = [("DUNLIN_LISTENER__MAX_CONNECTIONS", "1"), ("DUNLIN_NODE__MAX_CONNECTIONS", "1")];
        assert_eq!(problems(&pairs[..1]), [""; 0]);
        assert_eq!(
            problems(&pairs),
            ["DUNLIN_NODE__MAX_CONNECTIONS: is the same as DUNLIN_LISTENER__MAX_CONNECTIONS, which is given too"]
        );
    }

    #[test]
    fn a_value_that_is_no_utf8_is_a_problem() {
        let variables = read([("DUNLIN_LOG__FILE".into(), OsString::from_vec(vec![0xff]))]);
        assert_eq!(variables.problems[0].to_string(), "DUNLIN_LOG__FILE: the value is not UTF-8");
    }

    #[test]
    fn the_file_can_be_named_but_not_by_nothing() {
        assert_eq!(read_all(&[("DUNLIN_CONFIG", "/etc/d.toml")]).file, Some("/etc/d.toml".into()));
        assert_eq!(
            problems(&[("DUNLIN_CONFIG", "")]),
            ["DUNLIN_CONFIG: is empty: name a file, or unset it to read none"]
        );
    }
}
