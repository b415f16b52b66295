//! Rows as lines of files.
//!
//! Always holds: a batch is on stable storage before the target says that it has it; names of files hold nothing that a client chose, and
//! ascend with time; a row is one line: JSON over several lines is made one, and any other row with a line break is rejected.
//! Leaves to others: reading them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::delivered::{DeliverError, Delivered};
use super::row::Row;
use super::time_text::time_text;
use super::transform::one_line_json;
use crate::config::sink_targets::FileSinkSettings;
use crate::services::connectors::now_ms;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct FileTarget {
    settings: FileSinkSettings,
    /// Workers of one sink write files of their own.
    worker: usize,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    bytes: u64,
    since: Instant,
}

impl FileTarget {
    /// Opens a file with the first batch.
    pub(crate) const fn new(settings: FileSinkSettings, worker: usize) -> Self {
        Self { settings, worker, open: None }
    }

    /// Writes a batch.
    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        let mut lines = Vec::new();
        let mut rejected = Vec::new();
        for (at, row) in batch.iter().enumerate() {
            match one_line_json(&row.payload) {
                Some(line) => lines.extend_from_slice(&line),
                None if !row.payload.contains(&b'\n') => lines.extend_from_slice(&row.payload),
                None => {
                    rejected.push((at, "it has line breaks and is no JSON".to_owned()));
                    continue;
                }
            }
            lines.push(b'\n');
        }
        // Taken out: what is cut off half way goes on in a file of its own.
        let (open, settings, worker) = (self.open.take(), self.settings.clone(), self.worker);
        let written = tokio::task::spawn_blocking(move || write(open, &settings, worker, &lines)).await;
        let written = written.map_err(DeliverError::retry)?;
        let folder = self.settings.folder.display();
        self.open = Some(written.map_err(|error| DeliverError::retry(format!("{folder}: {error}")))?);
        Ok(if rejected.is_empty() { Delivered::All } else { Delivered::Some { rejected } })
    }
}

/// Appends to the file that is open, or to a new one where that has its size or its age.
fn write(open: Option<OpenFile>, settings: &FileSinkSettings, worker: usize, lines: &[u8]) -> io::Result<OpenFile> {
    let is_full = |open: &OpenFile| {
        open.bytes >= settings.rotate_bytes || open.since.elapsed() >= Duration::from_secs(settings.rotate_s)
    };
    let mut open = match open.filter(|open| !is_full(open)) {
        Some(open) => open,
        None => begin(settings, worker)?,
    };
    // What is written of a batch that fails is a torn line at the end of this file: the batch goes to another one.
    open.file.write_all(lines)?;
    open.file.sync_data()?;
    open.bytes += lines.len() as u64;
    Ok(open)
}

/// Makes the next file, whose name nobody has yet, and removes those that are too many.
fn begin(settings: &FileSinkSettings, worker: usize) -> io::Result<OpenFile> {
    fs::create_dir_all(&settings.folder)?;
    let time: String = time_text(now_ms()).chars().filter(char::is_ascii_alphanumeric).collect();
    let mut number = 0;
    let file = loop {
        let name = format!("{}-{time}-{worker}-{number}.ndjson", settings.prefix);
        let made = OpenOptions::new().append(true).create_new(true).open(settings.folder.join(name));
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => number += 1,
            made => break made?,
        }
    };
    // The name is to outlive the power as well.
    File::open(&settings.folder)?.sync_all()?;
    remove_oldest(settings)?;
    Ok(OpenFile { file, bytes: 0, since: Instant::now() })
}

/// Files of this sink beyond `keep_files`, the oldest first: their names are in the order of time.
fn remove_oldest(settings: &FileSinkSettings) -> io::Result<()> {
    let begins = format!("{}-", settings.prefix);
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&settings.folder)? {
        let path = entry?.path();
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            let middle = name.strip_prefix(&begins).and_then(|rest| rest.strip_suffix(".ndjson"));
            middle.is_some_and(|middle| middle.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | 'T' | 'Z')))
        });
        if is_ours {
            files.push(path);
        }
    }
    files.sort_unstable();
    let too_many = files.len().saturating_sub(settings.keep_files);
    for path in files.into_iter().take(too_many) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples::row;
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn settings(name: &str) -> FileSinkSettings {
        let folder = std::env::temp_dir().join(format!("dunlin-file-sink-{}-{name}", std::process::id()));
        FileSinkSettings { folder, prefix: "m".to_owned(), rotate_bytes: 40, rotate_s: 3_600, keep_files: 3 }
    }

    fn texts(settings: &FileSinkSettings) -> Vec<String> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&settings.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn rows_are_lines_files_rotate_and_the_oldest_go() {
        let settings = settings("rotate");
        fs::create_dir_all(&settings.folder).unwrap();
        fs::write(settings.folder.join("m-other.txt"), "kept").unwrap();
        let mut target = FileTarget::new(settings.clone(), 0);
        for number in 0..6 {
            let payload = format!("{{\"n\":\n{number},\"text\":\"thirty bytes of text here\"}}");
            assert_eq!(run(target.deliver(&[row(number, "t", &payload)])), Ok(Delivered::All));
            // Names tell milliseconds.
            std::thread::sleep(Duration::from_millis(2));
        }
        let texts = texts(&settings);
        fs::remove_dir_all(&settings.folder).unwrap();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts.iter().any(|text| text == "kept"));
        let last = texts.iter().find(|text| text.contains(" 5,")).unwrap();
        assert!(last.ends_with("}\n") && last.lines().count() <= 2, "{last:?}");
    }

    #[test]
    fn what_is_no_line_is_rejected_and_a_folder_that_cannot_be_is_tried_again() {
        let mut settings = settings("reject");
        let mut target = FileTarget::new(settings.clone(), 0);
        let batch = [row(1, "t", "one"), row(2, "t", "two\nlines"), row(3, "t", "three")];
        let delivered = run(target.deliver(&batch)).unwrap();
        assert!(matches!(delivered, Delivered::Some { rejected } if rejected.len() == 1 && rejected[0].0 == 1));
        assert_eq!(texts(&settings), ["one\nthree\n"]);
        fs::remove_dir_all(&settings.folder).unwrap();
        settings.folder = "/dev/null/nowhere".into();
        let mut target = FileTarget::new(settings, 0);
        assert!(run(target.deliver(&[row(1, "t", "one")])).unwrap_err().to_string().contains("/dev/null/nowhere"));
    }
}
