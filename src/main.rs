//! The broker's binary: arguments to configuration to runtime to exit status.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use dunlin::{
    config::{self, Config, Exit, Invocation, LogFormat, LogLevel, LogTarget},
    runtime,
    telemetry::log,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    abort_on_panic();
    let exit = match config::load(std::env::args_os(), std::env::vars_os()) {
        Ok(Invocation::Run(config)) => run(&config),
        Ok(Invocation::Help(text)) => printed(text.print()),
        Ok(Invocation::PrintConfig { toml: text, warnings } | Invocation::TestConfig { summary: text, warnings }) => {
            for warning in warnings {
                tell(&format_args!("warning: {warning}"));
            }
            printed(io::stdout().write_all(text.as_bytes()))
        }
        Err(error) => {
            error.print();
            error.exit()
        }
    };
    exit.into()
}

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

/// A line on standard error, before there is a log. If that takes nothing, the exit status has to do.
fn tell(text: &dyn Display) {
    drop(writeln!(io::stderr(), "dunlin: {text}"));
}

fn run(config: &Config) -> Exit {
    let log = match log::start(&log_options(config)) {
        Ok(log) => log,
        Err(error) => {
            tell(&config.log_problem(&error));
            return Exit::Config;
        }
    };
    for warning in &config.warnings {
        log::event::config_warning(warning);
    }
    let announce = |address, shards| {
        let plural = if shards == 1 { "" } else { "s" };
        // Nobody reading it is no reason to stop.
        drop(writeln!(
            io::stdout(),
            "dunlin {} listening on {address} ({shards} shard{plural})",
            env!("CARGO_PKG_VERSION")
        ));
    };
    match runtime::run(config, &log, announce) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            for line in error.to_string().lines() {
                tell(&line);
            }
            error.exit()
        }
    }
}

/// A panic is a bug of ours. Half a process that goes on without one of its shards would be worse than none.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

fn log_options(config: &Config) -> log::LogOptions {
    log::LogOptions {
        format: match config.process.log_format {
            LogFormat::Text => log::Format::Text,
            LogFormat::Json => log::Format::Json,
        },
        level: match config.process.log_level {
            LogLevel::Error => tracing::Level::ERROR,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Trace => tracing::Level::TRACE,
        },
        file: match &config.process.log_file {
            LogTarget::Stderr => None,
            LogTarget::File(path) => Some(path.clone()),
        },
        rate: config.process.log_rate,
    }
}
