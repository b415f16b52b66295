//! Words that clap does not have: the help of commands that take none of a load's flags, and true answers about flags of
//! other tools.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// `loadtest agent --help`.
pub(super) const AGENT_HELP: &str = "\
Wait for a loadtest elsewhere (--agents) and carry out its share; anyone who reaches the address can start a load

Usage: loadtest agent [--listen ADDR:PORT]

Options:
      --listen <ADDR:PORT>  Address and port to listen on; port 0 takes a free one and says which [default: 127.0.0.1:7883]
      --help                Print help

Broker, load and reports are the business of the loadtest that has --agents: an agent is told by it what to do.
";

/// `loadtest compare --help`.
pub(super) const COMPARE_HELP: &str = "\
Put two reports (-o FILE) side by side: what became better or worse

Usage: loadtest compare FIRST.json SECOND.json [--fail-if-worse PERCENT]

Arguments:
  <FIRST>   The report to compare with
  <SECOND>  The report that is compared

Options:
      --fail-if-worse <PERCENT>  Exit with 1 if a figure of the second report is worse by more than this, as in 10%
      --help                     Print help

Exit status: 0, 1 if --fail-if-worse found something, 2 if a file is no report.
";

/// `loadtest list --help`.
pub(super) const LIST_HELP: &str = "\
Describe the workloads that have names

Usage: loadtest list

Options:
      --help  Print help
";

/// Flags of emqtt-bench and of Mosquitto's clients that are not there, each with what is true about it.
const OF_OTHERS: &[(&[&str], &str)] = &[
    (&["--quic"], "loadtest speaks TCP, TLS, WebSocket and Unix sockets: there is no QUIC"),
    (&["-S"], "--tls or --ssl turns TLS on, without a value behind it"),
    (&["--num-retry-connect", "--reconnect"], "--retry N tries again to connect"),
    (&["--wait-before-publishing", "-w"], "publishers wait without a flag until all clients are connected"),
    (&["--shortids", "--prefix-id"], "--prefix says what client ids begin with"),
    (&["--payload-hdrs"], "each message carries a stamp of its own, with times and a checksum"),
    (&["--topics-payload"], "a scenario gives each group of clients its own topics and payload: loadtest run FILE"),
    (&["--cleansess"], "use --clean BOOL"),
    (&["--id"], "--prefix says what client ids begin with"),
    (&["--repeat"], "use --limit N"),
];

/// The error with a true answer, where it is about a flag of another tool.
pub(super) fn answered(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = flag.split('=').next().unwrap_or_default();
    let (_, answer) = OF_OTHERS.iter().find(|(flags, _)| flags.contains(&flag))?;
    Some(format!("{flag} is not known here: {answer}"))
}
