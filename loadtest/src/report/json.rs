//! The whole outcome as JSON, for programs. An [`Outcome`] reads back from it, histograms included.

use serde::Serialize;

use crate::{exit::Judgement, outcome::Outcome};

#[derive(Serialize)]
struct Document<'a> {
    loadtest: &'static str,
    exit_status: u8,
    #[serde(flatten)]
    judgement: &'a Judgement,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// The text, with a line feed at its end.
pub fn text(outcome: &Outcome, judgement: &Judgement) -> Result<String, String> {
    let exit_status = judgement.exit.status();
    let document = Document { loadtest: env!("CARGO_PKG_VERSION"), exit_status, judgement, outcome };
    let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exit::Exit, report::sample};

    #[test]
    fn an_outcome_reads_back_from_its_report() {
        let outcome = sample::outcome();
        let judgement =
            Judgement { exit: Exit::Broken, complaints: vec!["1 lost at QoS 1".to_owned()], thresholds: Vec::new() };
        let text = text(&outcome, &judgement).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["exit_status"], &value["exit"]), (&1.into(), &"broken".into()));
        assert_eq!(value["complaints"][0], "1 lost at QoS 1");
        assert_eq!(value["loop_kind"], "open");
    }
}
