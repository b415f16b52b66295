//! The binary: a command line to an order, an order to an exit status.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use loadtest::{
    agents,
    cli::{self, Order},
    compare, engine,
    exit::{Exit, Failure},
    run,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let order = match cli::parse(arguments) {
        Ok(order) => order,
        Err(error) => {
            // Nobody reading it is no reason for another status.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.status()));
        }
    };
    let result = match order {
        Order::List => {
            drop(io::stdout().write_all(cli::list_text().as_bytes()));
            Ok(Exit::Ok)
        }
        Order::Compare { files: [first, second], tolerance } => compare::run(&first, &second, tolerance),
        Order::Agent { listen } => agents::serve(&listen, engine::run),
        Order::Run(order) => run::run(&order, engine::run),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(Failure { exit, line }) => {
            drop(writeln!(io::stderr(), "loadtest: {line}"));
            exit.into()
        }
    }
}
