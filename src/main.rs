//! The broker's binary: arguments to configuration to runtime to exit status.

use std::{
    fmt::Display,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
};

use dunlin::{
    commands,
    config::{self, Config, ConfigError, Exit, Invocation, LogFormat, LogTarget, StoreCommand},
    net::ListenOn,
    runtime::{
        self, End, RunError,
        disk::{self, CheckVerdict, CopiedStore, Survey, SurveyError},
    },
    telemetry::log,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    abort_on_panic(LogFormat::Text);
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(exit) = commands::run(&arguments, &[runtime::doctor::command]) {
        return exit.into();
    }
    if arguments.get(1).is_some_and(|command| command == "doctor") {
        return runtime::doctor::run(&arguments[1..]).into();
    }
    let exit = match config::load(arguments, std::env::vars_os()) {
        Ok(Invocation::Run(config)) => run(&config),
        Ok(Invocation::Store(command)) => store(&command),
        Ok(Invocation::Help(text)) => printed(text.print()),
        Ok(Invocation::PrintConfig { toml, warnings }) => {
            warn(&warnings);
            printed(io::stdout().write_all(toml.as_bytes()))
        }
        Ok(Invocation::TestConfig { summary, config }) => tested(&summary, &config),
        Err(error) => {
            refuse(&error);
            error.exit()
        }
    };
    exit.into()
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tell(&format_args!("warning: {warning}"));
    }
}

/// The settings are usable; whether certificates and keys are, and owners of sockets, is seen by reading them, as a start would.
fn tested(summary: &str, config: &Config) -> Exit {
    warn(&config.warnings);
    let tls = runtime::check_tls(config);
    let problems = tls.as_ref().err().into_iter().flatten().map(ToString::to_string);
    let problems: Vec<String> = problems.chain(runtime::check_owners(config)).collect();
    if problems.is_empty() {
        warn(&tls.unwrap_or_default());
        return printed(io::stdout().write_all(summary.as_bytes()));
    }
    if config.process.log_format == LogFormat::Json {
        let events = || problems.iter().for_each(|problem| log::event::config_error(problem));
        log::say_on_stderr(log::Format::Json, events);
    } else {
        for problem in &problems {
            tell(problem);
        }
        tell(&NOT_USABLE);
    }
    Exit::TestFailed
}

const NOT_USABLE: &str = "the configuration is NOT usable";

/// The status after something was printed on standard output.
fn printed(result: io::Result<()>) -> Exit {
    match result {
        // A pager that was closed early is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            tell(&format_args!("standard output: {error}"));
            Exit::Environment
        }
        _ => Exit::Ok,
    }
}

/// Looks at a data directory, copies it, or makes one.
fn store(command: &StoreCommand) -> Exit {
    match command {
        StoreCommand::Backup { directory, copy } => match disk::backup(directory, copy) {
            Ok(CopiedStore { files, bytes, lost_manifest }) => {
                if let Some(lost) = lost_manifest {
                    tell(&format_args!("DAMAGED: {lost}"));
                }
                tell(&format_args!(
                    "{files} files with {} MB were copied, and are read back",
                    bytes.div_ceil(1_000_000)
                ));
                look(copy, disk::check)
            }
            Err(error) => {
                tell(&error);
                Exit::Environment
            }
        },
        StoreCommand::Check { directory } => look(directory, disk::check),
        StoreCommand::Export { directory } => look(directory, |survey, out| {
            disk::export(survey, out).map(|written| written.map(|()| CheckVerdict::Whole))
        }),
        StoreCommand::Import { directory, node_name } => {
            match runtime::import(directory, node_name.as_deref(), &mut io::stdin().lock()) {
                Ok(left_out) => {
                    for thing in left_out {
                        tell(&format_args!("not imported: {thing}"));
                    }
                    Exit::Ok
                }
                Err(error) => {
                    tell(&error);
                    Exit::Environment
                }
            }
        }
    }
}

/// What is done with what is in a directory.
type ShowStore = fn(&Survey, &mut dyn io::Write) -> Result<io::Result<CheckVerdict>, SurveyError>;

fn look(directory: &Path, show: ShowStore) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = Survey::of(directory).and_then(|survey| show(&survey, &mut out));
    match done.map(|shown| shown.and_then(|verdict| out.flush().map(|()| verdict))) {
        Ok(Ok(CheckVerdict::Whole)) => Exit::Ok,
        Ok(Ok(CheckVerdict::Damaged(_))) => Exit::TestFailed,
        Ok(Err(error)) => printed(Err(error)),
        Err(error) => {
            tell(&error);
            Exit::Environment
        }
    }
}

/// A line for people on standard error. If that takes nothing, the exit status has to do.
fn tell(text: &dyn Display) {
    drop(writeln!(io::stderr(), "dunlin: {text}"));
}

/// Says what is wrong with the configuration, before there is a log, in the shape that its lines would have.
fn refuse(error: &ConfigError) {
    match error {
        ConfigError::Invalid { problems, format: LogFormat::Json, .. } => {
            let events = || problems.iter().for_each(|problem| log::event::config_error(problem));
            log::say_on_stderr(log::Format::Json, events);
        }
        ConfigError::Usage { error, format: LogFormat::Json } => {
            log::say_on_stderr(log::Format::Json, || log::event::config_error(error));
        }
        // A standard error that takes nothing leaves nobody to tell; the exit status stands.
        ConfigError::Usage { error, .. } => drop(error.print()),
        ConfigError::Invalid { problems, tested, .. } => {
            for problem in problems {
                tell(problem);
            }
            if *tested {
                tell(&NOT_USABLE);
            }
        }
    }
}

fn run(config: &Config) -> Exit {
    let format = config.process.log_format;
    let log = match log::start(&log_options(config)) {
        Ok(log) => log,
        Err(error) => {
            let problem = config.log_problem(&error);
            refuse(&ConfigError::Invalid { problems: vec![problem], tested: false, format });
            return Exit::Config;
        }
    };
    abort_on_panic(format);
    for warning in &config.warnings {
        log::event::config_warning(warning);
    }
    let announce = |addresses: &[ListenOn]| {
        if format == LogFormat::Text {
            announce(addresses, config.settings.shards);
        }
    };
    match runtime::run(config, log.control(), announce) {
        Ok(()) => Exit::Ok,
        Err(error) => give_up(config, &error),
    }
}

/// Tells people and scripts where clients can connect: the one line on standard output.
fn announce(addresses: &[ListenOn], shards: usize) {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let (addresses, plural) = (addresses.join(", "), if shards == 1 { "" } else { "s" });
    let version = env!("CARGO_PKG_VERSION");
    // Nobody reading it is no reason to stop.
    drop(writeln!(io::stdout(), "dunlin {version} listening on {addresses} ({shards} shard{plural})"));
}

/// The broker cannot run: the reason is the last line of the log, and stands on standard error in any case.
fn give_up(config: &Config, error: &RunError) -> ! {
    // What a machine lacks is told in several lines, which the log has as one.
    let reason = error.to_string().replace('\n', "; ");
    if config.process.log_file != LogTarget::Stderr {
        match config.process.log_format {
            LogFormat::Text => error.to_string().lines().for_each(|line| tell(&line)),
            LogFormat::Json => log::say_on_stderr(log::Format::Json, || log::event::fatal(&reason)),
        }
    }
    runtime::fatal(&reason, End::Exit(error.exit()))
}

/// A panic is a bug of ours. Half a process that goes on without one of its shards would be worse than none.
fn abort_on_panic(format: LogFormat) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if format == LogFormat::Text {
            report(panic);
        }
        runtime::fatal(panic, End::Abort);
    }));
}

fn log_options(config: &Config) -> log::LogOptions {
    log::LogOptions {
        format: match config.process.log_format {
            LogFormat::Text => log::Format::Text,
            LogFormat::Json => log::Format::Json,
        },
        level: config.process.log_level.into(),
        file: match &config.process.log_file {
            LogTarget::Stderr => None,
            LogTarget::File(path) => Some(path.clone()),
        },
        rate: config.process.log_rate,
        for_journal: log::stderr_is_journal(),
    }
}
