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

pub(super) fn stage(fields: Fields) -> Result<Stage, String> {
    let doing = fields.needed("do", fields.word("do", DOINGS)?)?;
    let word = fields.text("do")?.unwrap_or_default();
    let groups = || {
        let groups = fields.texts("groups")?;
        if groups.is_empty() { Err(fields.error("groups is missing")) } else { Ok(groups) }
    };
    let seconds = || fields.needed("for", fields.span("for")?).map(|span| span.as_secs_f64());
    let percent = || Ok::<_, String>(fields.number("percent")?.unwrap_or(100.0));
    let rate_per_s = || Ok::<_, String>(fields.number("rate")?.unwrap_or(0.0));
    let action = match doing {
        Do::Ramp => Action::Ramp { groups: groups()?, rate_per_s: rate_per_s()? },
        Do::Hold => Action::Hold { seconds: seconds()?, publish: fields.texts("publish")? },
        Do::Burst => Action::Burst {
            groups: groups()?,
            messages_per_client: fields.needed("messages", fields.count("messages")?)?,
        },
        Do::Drop => {
            let how = fields.word("how", HOWS)?.unwrap_or_default();
            Action::Drop { groups: groups()?, percent: percent()?, how }
        }
        Do::Resume => Action::Resume { groups: groups()?, percent: percent()?, rate_per_s: rate_per_s()? },
        Do::Churn => Action::Churn {
            groups: groups()?,
            seconds: seconds()?,
            rate_per_s: fields.needed("rate", fields.number("rate")?)?,
            publish: fields.texts("publish")?,
        },
    };
    let mut stage = Stage::new(&fields.text("name")?.unwrap_or(word), action);
    stage.measured = fields.flag("measure")?.unwrap_or(false);
    stage.await_deliveries_s = fields.whole_seconds("await_deliveries")?;
    fields.finish()?;
    Ok(stage)
}
