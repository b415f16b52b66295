//! The stages of a scenario file.

use super::fields::Fields;
use crate::plan::{Action, DropHow, Stage};

#[derive(Clone, Copy)]
enum Do {
    Ramp,
    Hold,
    Burst,
    Drop,
    Resume,
    Churn,
}

const DOINGS: &[(&str, Do)] = &[
    ("ramp", Do::Ramp),
    ("hold", Do::Hold),
    ("burst", Do::Burst),
    ("drop", Do::Drop),
    ("resume", Do::Resume),
    ("churn", Do::Churn),
];
const HOWS: &[(&str, DropHow)] =
    &[("disconnect", DropHow::Disconnect), ("close", DropHow::Close), ("reset", DropHow::Reset)];

/// A stage. What is missing or wrong has been told, and stands in it as nothing.
pub(super) fn stage(fields: Fields) -> Stage {
    let doing = fields.needed("do", fields.word("do", DOINGS));
    let word = fields.text("do").unwrap_or_default();
    let nothing = || Action::Hold { seconds: 0.0, publish: Vec::new() };
    let action = doing.map_or_else(nothing, |doing| action(&fields, doing));
    let mut stage = Stage::new(&fields.text("name").unwrap_or(word), action);
    stage.measured = fields.flag("measure").unwrap_or(false);
    stage.await_deliveries_s = fields.whole_seconds("await_deliveries");
    // What a stage takes is known by what it does.
    if doing.is_some() {
        fields.finish();
    }
    stage
}

fn action(fields: &Fields, doing: Do) -> Action {
    let groups = || {
        let groups = fields.names("groups");
        if groups.is_empty() && !fields.has("groups") {
            fields.error("groups is missing");
        }
        groups
    };
    let seconds = || fields.needed("for", fields.span("for")).map_or(0.0, |span| span.as_secs_f64());
    let percent = || fields.number("percent").unwrap_or(100.0);
    let rate_per_s = || fields.number("rate").unwrap_or(0.0);
    match doing {
        Do::Ramp => Action::Ramp { groups: groups(), rate_per_s: rate_per_s() },
        Do::Hold => Action::Hold { seconds: seconds(), publish: fields.names("publish") },
        Do::Burst => Action::Burst {
            groups: groups(),
            messages_per_client: fields.needed("messages", fields.count("messages")).unwrap_or(0),
        },
        Do::Drop => {
            let how = fields.word("how", HOWS).unwrap_or_default();
            Action::Drop { groups: groups(), percent: percent(), how }
        }
        Do::Resume => Action::Resume { groups: groups(), percent: percent(), rate_per_s: rate_per_s() },
        Do::Churn => Action::Churn {
            groups: groups(),
            seconds: seconds(),
            rate_per_s: fields.needed("rate", fields.number("rate")).unwrap_or(0.0),
            publish: fields.names("publish"),
        },
    }
}
