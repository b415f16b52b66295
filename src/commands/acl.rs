//! `dunlin acl check`: what the access rules say of one case, and which rule says it.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

use core::net::IpAddr;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::auth::acl::{self, Publication, RuleSet, SubscribeRight, Who};
use crate::config::Exit;
use crate::ids::Qos;
use crate::topic::{SubscribedFilter, TopicName};

/// Looks at access rules without a broker
#[derive(Debug, Parser)]
#[command(name = "dunlin acl", bin_name = "dunlin acl", max_term_width = 100)]
pub(super) struct AclArguments {
    #[command(subcommand)]
    command: AclCommand,
}

#[derive(Debug, Subcommand)]
enum AclCommand {
    /// Says whether a client may do something, and which rule decides; exits with 0 if it may and 1 if not
    Check(CheckArguments),
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// The access file, as --acl-file of the broker names it
    #[arg(long, value_name = "FILE", env = "DUNLIN_AUTH__ACL_FILE")]
    acl_file: PathBuf,

    /// The user name; without it, a client that has shown none
    #[arg(short, long)]
    user: Option<String>,

    /// Users to whom no rule applies, as --superusers of the broker names them
    #[arg(long, value_name = "NAME", env = "DUNLIN_AUTH__SUPERUSERS", value_delimiter = ',')]
    superusers: Vec<String>,

    /// The client id
    #[arg(short, long, default_value = "")]
    client: String,

    /// The name of the listener that it comes by
    #[arg(long, default_value = "")]
    listener: String,

    /// The address that it comes from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,

    /// The QoS of the message or the subscription
    #[arg(long, default_value = "0", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,

    /// The message is to be retained
    #[arg(long, requires = "publish")]
    retain: bool,

    #[command(flatten)]
    case: CheckedCase,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct CheckedCase {
    /// May it publish to this topic?
    #[arg(long, value_name = "TOPIC")]
    publish: Option<String>,

    /// May it receive a message on this topic?
    #[arg(long, value_name = "TOPIC")]
    receive: Option<String>,

    /// May it subscribe to this filter?
    #[arg(long, value_name = "FILTER")]
    subscribe: Option<String>,
}

/// Runs it; the first argument is `acl` itself.
pub(super) fn run(arguments: &[OsString]) -> Exit {
    let AclCommand::Check(arguments) = match AclArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command,
        Err(error) => return super::usage(&error),
    };
    let path = arguments.acl_file.display();
    let rules = fs::read_to_string(&arguments.acl_file)
        .map_err(|error| format!("{path}: cannot be read: {error}"))
        .and_then(|text| acl::parse(&text).map_err(|error| format!("{path}: {error}")))
        .map(|rules| rules.with_superusers(arguments.superusers.iter().map(String::as_str)));
    match rules.and_then(|rules| check(&arguments, &rules)) {
        Ok((answer, is_allowed)) => {
            // Nobody reading it is no failure: the status says the same.
            let _ = writeln!(io::stdout(), "{answer}");
            if is_allowed { Exit::Ok } else { Exit::TestFailed }
        }
        Err(error) => {
            drop(writeln!(io::stderr(), "dunlin acl: {error}"));
            Exit::Config
        }
    }
}

/// What is to be said, and whether it is allowed.
fn check(arguments: &CheckArguments, rules: &RuleSet) -> Result<(String, bool), String> {
    let CheckArguments { user, client, listener, from, qos, retain, case, .. } = arguments;
    let who = Who { client_id: client, user: user.as_deref(), listener, peer: *from };
    let qos = Qos::from_bits(*qos).expect("0 to 2 is what the argument takes");
    let topic_name = |text: &str| match TopicName::parse(text, u16::MAX) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{text:?} is no topic: {error}")),
    };
    let (verdict, is_allowed, rule) = match (&case.publish, &case.receive, &case.subscribe) {
        (Some(topic), _, _) => {
            topic_name(topic)?;
            let decision = rules.may_publish(&who, Publication { topic, qos, retain: *retain });
            (word(decision.allowed), decision.allowed, decision.rule)
        }
        (_, Some(topic), _) => {
            topic_name(topic)?;
            let decision = rules.may_receive(&who, topic);
            (word(decision.allowed), decision.allowed, decision.rule)
        }
        (_, _, Some(text)) => {
            let filter = SubscribedFilter::parse(text, u16::MAX);
            let filter = filter.map_err(|error| format!("{text:?} is no topic filter: {error}"))?;
            match rules.may_subscribe(&who, filter.filter.as_str(), qos) {
                (SubscribeRight::Wholly, rule) => ("allowed", true, rule),
                (SubscribeRight::Partly, rule) => ("allowed; of what matches, a part is not sent", true, rule),
                (SubscribeRight::Refused, rule) => ("refused", false, rule),
            }
        }
        (None, None, None) => unreachable!("one of them is required"),
    };
    let unruled = if rules.spares(&who) { "no rule applies to a superuser" } else { "no rule allows it" };
    let by = rule.map_or_else(|| unruled.to_owned(), ToString::to_string);
    Ok((format!("{verdict}: {by}"), is_allowed))
}

const fn word(is_allowed: bool) -> &'static str {
    if is_allowed { "allowed" } else { "refused" }
}
