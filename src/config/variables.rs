//! Environment variables: `DUNLIN_SECTION__KEY`, and `DUNLIN_CONFIG` for the file.
//!
//! Always holds: a variable that looks like a setting (two underscores in a row) and is none is a problem. Names with
//! single underscores are left alone: Kubernetes sets `DUNLIN_PORT` and its like for a service called dunlin.

use std::{ffi::OsString, path::PathBuf};

use super::{
    Given, Layer,
    error::{Problem, Source},
    setting::Setting,
    suggest,
    table::SETTINGS,
};

/// The variable that names the configuration file.
pub(super) const FILE_VARIABLE: &str = "DUNLIN_CONFIG";

/// What the environment says.
pub(super) struct Variables {
    pub(super) layer: Layer,
    pub(super) file: Option<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn read(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    let names: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    let mut variables = Variables { layer: Layer::empty(), file: None, problems: Vec::new() };
    for (name, value) in environment {
        // A name that is no UTF-8 cannot begin a name of ours that matters.
        let Some(name) = name.to_str() else { continue };
        if name == FILE_VARIABLE {
            variables.file = Some(PathBuf::from(value));
            continue;
        }
        let Some(rest) = name.strip_prefix("DUNLIN_") else { continue };
        let source = Source::Variable(name.to_owned());
        match (names.iter().position(|known| known == name), value.into_string()) {
            (Some(index), Ok(text)) => variables.layer.set(index, Given { texts: vec![text], source }),
            (Some(_), Err(_)) => variables.problems.push(Problem::new(&source, "the value is not UTF-8")),
            (None, _) if rest.contains("__") => {
                let text = format!("no setting has this variable; {}", suggest::for_variable(name));
                variables.problems.push(Problem::new(&source, text));
            }
            (None, _) => {}
        }
    }
    // The environment has no order of its own.
    variables.problems.sort_by_key(ToString::to_string);
    variables
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read_all(pairs: &[(&str, &str)]) -> Variables {
        read(pairs.iter().map(|&(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn every_setting_has_its_variable() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            let variables = read_all(&[(&setting.variable(), "x")]);
            let given = variables.layer.get(index).expect(setting.flag);
            assert_eq!((given.texts[0].as_str(), given.source.to_string()), ("x", setting.variable()));
        }
    }

    #[test]
    fn a_misspelled_variable_is_a_problem_and_kubernetes_names_are_not() {
        let variables = read_all(&[
            ("DUNLIN_MQTT__MAX_INFLIHGT", "1"),
            ("DUNLIN_PORT", "tcp://10.0.0.1:1883"),
            ("DUNLIN_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ]);
        let problems: Vec<String> = variables.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            ["DUNLIN_MQTT__MAX_INFLIHGT: no setting has this variable; did you mean DUNLIN_MQTT__MAX_INFLIGHT?"]
        );
    }

    #[test]
    fn a_value_that_is_no_utf8_is_a_problem() {
        let variables = read([("DUNLIN_LOG__FILE".into(), OsString::from_vec(vec![0xff]))]);
        assert_eq!(variables.problems[0].to_string(), "DUNLIN_LOG__FILE: the value is not UTF-8");
    }

    #[test]
    fn the_file_can_be_named() {
        assert_eq!(read_all(&[("DUNLIN_CONFIG", "/etc/d.toml")]).file, Some("/etc/d.toml".into()));
    }
}
