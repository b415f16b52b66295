//! Rows as lines of files.
//!
//! Always holds: a batch is on stable storage before the target says that it has it; names of files hold nothing that a client chose, and
//! ascend with time; a row is one line: JSON over several lines is made one, and any other row with a line break is rejected. A file that
//! this process writes is not removed by it, whichever worker or sink asks; a batch in a file that somebody else has removed is written again.
//! Leaves to others: reading them; that no two sinks write files of one name (`config`).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::delivered::{DeliverError, Delivered};
use super::row::Row;
use super::time_text::time_text;
use super::transform::line_of;
use crate::config::sink_targets::FileSinkSettings;
use crate::services::connectors::now_ms;

/// Files that workers of this process write, by their whole paths: as many as there are workers.
static WRITTEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

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
    /// Says that it is written.
    mark: WrittenMark,
}

/// Has a path among [`WRITTEN`] for as long as it lives.
#[derive(Debug)]
struct WrittenMark(PathBuf);

impl WrittenMark {
    /// `None`: somebody else has it.
    fn new(path: &Path) -> Option<Self> {
        let is_new = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        is_new.then(|| Self(path.to_owned()))
    }
}

impl Drop for WrittenMark {
    fn drop(&mut self) {
        WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
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
            match line_of(&row.payload) {
                Ok(line) => {
                    lines.extend_from_slice(&line);
                    lines.push(b'\n');
                }
                Err(why) => rejected.push((at, why)),
            }
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

/// Appends to the file that is open, or to a new one where that has its size or its age, or was removed.
fn write(open: Option<OpenFile>, settings: &FileSinkSettings, worker: usize, lines: &[u8]) -> io::Result<OpenFile> {
    let is_full = |open: &OpenFile| {
        open.bytes >= settings.rotate_bytes || open.since.elapsed() >= Duration::from_secs(settings.rotate_s)
    };
    let open = match open.filter(|open| !is_full(open) && !is_gone(&open.file).unwrap_or(true)) {
        Some(open) => open,
        None => begin(settings, worker)?,
    };
    let is_first = open.bytes == 0;
    let open = append(open, lines)?;
    if is_first && let Some(folder) = open.mark.0.parent() {
        // Not before something is written: where there is no room, a file without anything must not cost one that has something.
        remove_oldest(folder, settings)?;
    }
    Ok(open)
}

/// What is written of a batch that fails is taken back, and goes to another file; one that has nothing else is removed.
fn append(mut open: OpenFile, lines: &[u8]) -> io::Result<OpenFile> {
    let written = open.file.write_all(lines).and_then(|()| open.file.sync_data());
    if let Err(error) = written {
        // What cannot be undone is a torn line at the end of this file.
        let _ = if open.bytes == 0 { fs::remove_file(&open.mark.0) } else { open.file.set_len(open.bytes) };
        return Err(error);
    }
    if is_gone(&open.file)? {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while it was written"));
    }
    open.bytes += lines.len() as u64;
    Ok(open)
}

/// Whether no name leads to it any more.
fn is_gone(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() == 0)
}

/// Makes the next file, whose name nobody has yet.
fn begin(settings: &FileSinkSettings, worker: usize) -> io::Result<OpenFile> {
    fs::create_dir_all(&settings.folder)?;
    // One name for each file, however the folder is written: files that are written are known by it.
    let folder = fs::canonicalize(&settings.folder)?;
    let time: String = time_text(now_ms()).chars().filter(char::is_ascii_alphanumeric).collect();
    let mut number = 0;
    let (file, mark) = loop {
        let path = folder.join(format!("{}-{time}-{worker}-{number}.ndjson", settings.prefix));
        // Before the file is there, so that nobody sees it unmarked.
        let made = WrittenMark::new(&path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))
            .and_then(|mark| Ok((OpenOptions::new().append(true).create_new(true).open(&path)?, mark)));
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => number += 1,
            made => break made?,
        }
    };
    // The name is to outlive the power as well.
    File::open(&folder)?.sync_all()?;
    Ok(OpenFile { file, bytes: 0, since: Instant::now(), mark })
}

/// Complete files of this sink beyond `keep_files`, the oldest first: their names are in the order of time.
fn remove_oldest(folder: &Path, settings: &FileSinkSettings) -> io::Result<()> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|name| is_name_of(name, &settings.prefix));
        // Empty ones, which a kill leaves, are no reason to remove one that is not.
        if is_ours && entry.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            files.push(entry.path());
        }
    }
    // After the folder was read: what it has and nobody writes now is complete.
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    files.retain(|path| !written.contains(path));
    files.sort_unstable();
    let too_many = files.len().saturating_sub(settings.keep_files);
    for path in files.into_iter().take(too_many) {
        match fs::remove_file(path) {
            // Another worker was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// Whether it is PREFIX-TIME-WORKER-NUMBER.ndjson, and no name of a prefix that only begins as this one.
fn is_name_of(name: &str, prefix: &str) -> bool {
    let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    let Some(rest) = rest.and_then(|rest| rest.strip_suffix(".ndjson")) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = |text: &str| {
        let parts = text.strip_suffix('Z').and_then(|text| text.split_once('T'));
        parts.is_some_and(|(day, time)| is_number(day) && is_number(time))
    };
    let mut parts = rest.split('-');
    parts.next().is_some_and(is_time)
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
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
        // Three that are complete, the one that is written, and what is not ours.
        assert_eq!(texts.len(), 5, "{texts:?}");
        assert!(texts.iter().any(|text| text == "kept"));
        let last = texts.iter().find(|text| text.contains(" 5,")).unwrap();
        assert!(last.ends_with("}\n") && last.lines().count() <= 2, "{last:?}");
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_and_removes_nothing() {
        let settings = FileSinkSettings { keep_files: 1, ..settings("full") };
        fs::create_dir_all(&settings.folder).unwrap();
        let kept = settings.folder.join("m-20260101T000000000Z-0-0.ndjson");
        fs::write(&kept, "kept\n").unwrap();
        fs::write(settings.folder.join("m-20260102T000000000Z-0-0.ndjson"), "").unwrap();
        let of_full_disk = |bytes: u64, path: &Path| OpenFile {
            file: OpenOptions::new().write(true).open("/dev/full").unwrap(),
            bytes,
            since: Instant::now(),
            mark: WrittenMark::new(path).unwrap(),
        };
        for number in 3..20 {
            let path = settings.folder.join(format!("m-20260103T0000000{number:02}Z-0-0.ndjson"));
            fs::write(&path, "").unwrap();
            append(of_full_disk(0, &path), b"more\n").unwrap_err();
            assert!(!path.exists(), "it holds nothing");
        }
        remove_oldest(&settings.folder, &settings).unwrap();
        assert!(kept.exists(), "empty ones do not count");
        // One that has something before keeps that.
        let path = settings.folder.join("m-20260104T000000000Z-0-0.ndjson");
        fs::write(&path, "before\n").unwrap();
        append(of_full_disk(7, &path), b"more\n").unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\n");
        fs::remove_dir_all(&settings.folder).unwrap();
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

    #[test]
    fn no_file_is_removed_while_a_worker_writes_it() {
        let mut settings = settings("workers");
        settings.keep_files = 1;
        fs::create_dir_all(&settings.folder).unwrap();
        // Another sink's, whose prefix begins as ours.
        fs::write(settings.folder.join("m-1-20200101T000000000Z-0-0.ndjson"), "other\n").unwrap();
        settings.rotate_bytes = 1_000_000;
        let mut slow: Vec<FileTarget> = (0..4).map(|worker| FileTarget::new(settings.clone(), worker)).collect();
        let mut fast = FileTarget::new(FileSinkSettings { rotate_bytes: 1, ..settings.clone() }, 4);
        for number in 0..5 {
            for target in &mut slow {
                assert_eq!(run(target.deliver(&[row(number, "t", &format!("slow {number}"))])), Ok(Delivered::All));
            }
            assert_eq!(run(fast.deliver(&[row(number, "t", "fast")])), Ok(Delivered::All));
            std::thread::sleep(Duration::from_millis(2));
        }
        let texts = texts(&settings);
        fs::remove_dir_all(&settings.folder).unwrap();
        let lines =
            |begins: &str| texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with(begins)).count();
        // Of the fast one: the file that it writes, and one that is complete.
        assert_eq!((lines("slow"), lines("fast"), lines("other")), (20, 2, 1), "{texts:?}");
    }

    #[test]
    fn nothing_is_delivered_into_a_file_that_is_gone() {
        let mut settings = settings("gone");
        settings.rotate_bytes = 1_000_000;
        let mut target = FileTarget::new(settings.clone(), 0);
        assert_eq!(run(target.deliver(&[row(1, "t", "one")])), Ok(Delivered::All));
        fs::remove_dir_all(&settings.folder).unwrap();
        assert_eq!(run(target.deliver(&[row(2, "t", "two")])), Ok(Delivered::All));
        assert_eq!(texts(&settings), ["two\n"]);
        // It goes while a batch is written.
        let open = target.open.take().unwrap();
        fs::remove_dir_all(&settings.folder).unwrap();
        assert!(append(open, b"three\n").is_err());
        assert_eq!(run(target.deliver(&[row(3, "t", "three")])), Ok(Delivered::All));
        assert_eq!(texts(&settings), ["three\n"]);
        fs::remove_dir_all(&settings.folder).unwrap();
    }
}
