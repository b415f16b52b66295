//! The built binary: started, read, interrupted, and gone with its test.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

/// A folder that goes with its test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadtest-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(line.split_whitespace()).stdin(Stdio::null());
    command
}

/// Runs to the end.
pub(crate) fn loadtest(line: &str) -> Output {
    command(line).output().expect("loadtest runs")
}

pub(crate) fn status(output: &Output) -> i32 {
    output.status.code().expect("it exits by itself")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A process that ends with its test.
pub(crate) struct Running(pub Child);

impl Running {
    pub(crate) fn start(line: &str) -> Self {
        Self(command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("loadtest runs"))
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Reads standard error up to a line that holds `part`; an error with all that was read if there is none.
    pub(crate) fn wait_for(&mut self, part: &str) -> Result<(), String> {
        let mut read = String::new();
        let mut lines = BufReader::new(self.0.stderr.as_mut().expect("piped"));
        while lines.read_line(&mut read).expect("UTF-8") > 0 {
            if read.contains(part) {
                return Ok(());
            }
        }
        Err(read)
    }

    /// The status, and standard output.
    pub(crate) fn finish(mut self) -> (i32, String) {
        // Whatever else it says must not block it.
        let mut stderr = self.0.stderr.take().expect("piped");
        let reading = std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let mut summary = String::new();
        let mut stdout = self.0.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut stdout, &mut summary).expect("UTF-8");
        drop(reading.join());
        (self.0.wait().expect("it ends").code().expect("it exits by itself"), summary)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
