//! Rows into files of Apache Parquet.
//!
//! Owns: the files of one folder whose names begin with the sink's prefix.
//! Always holds: a batch is one file, and a file is whole or not there: it is written under a hidden name, synced, and only then gets its
//! own, which none has yet. A batch is acknowledged after that. So a file has as many rows, bytes and seconds as the sink's batch.
//! Leaves to others: how much a batch is (`worker`), what is in a column ([`column`]).

mod column;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use rustix::fs::{RenameFlags, renameat_with};

use super::delivered::{DeliverError, Delivered};
use super::row::Row;
use super::values::values_of;
use crate::config::targets::ParquetSettings;
use column::ParquetColumn;

/// What marks the hidden files of this process: those of one that was killed may go.
static PROCESS: LazyLock<String> = LazyLock::new(|| format!("{}-{}", std::process::id(), unix_ms()));

/// Opened with the next batch, and again after a failure.
#[derive(Debug)]
pub(crate) struct ParquetTarget {
    settings: Arc<ParquetSettings>,
    /// Whether the folder was looked at for what a process left that was killed.
    is_swept: bool,
}

impl ParquetTarget {
    pub(crate) fn new(settings: ParquetSettings) -> Self {
        Self { settings: Arc::new(settings), is_swept: false }
    }

    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        let settings = Arc::clone(&self.settings);
        // Rows are cheap to copy: their payloads are counted references.
        let (rows, sweeps) = (batch.to_vec(), !self.is_swept);
        let written = tokio::task::spawn_blocking(move || {
            if sweeps {
                sweep(&settings)?;
            }
            write(&settings, &rows)
        });
        let delivered = written.await.map_err(DeliverError::retry)?.map_err(DeliverError::retry)?;
        self.is_swept = true;
        Ok(delivered)
    }
}

/// Deletes hidden files of a process that is no more.
fn sweep(settings: &ParquetSettings) -> io::Result<()> {
    let begins = format!(".{}-", settings.prefix);
    for entry in fs::read_dir(&settings.folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_partial = name.starts_with(&begins) && name.ends_with(".partial");
        if is_partial && !name.contains(&*PROCESS) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes columns of the rows, and of these a file.
fn write(settings: &ParquetSettings, rows: &[Row]) -> Result<Delivered, ParquetError> {
    let mut columns: Vec<ParquetColumn> =
        settings.columns.iter().map(|(_, _, kind)| ParquetColumn::new(*kind, rows.len())).collect();
    let mut rejected = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let values = values_of(row);
        let cells = settings.columns.iter().map(|(name, formula, kind)| {
            let cell = formula.value(&values).and_then(|value| column::ParquetCell::of(*kind, &value));
            cell.map_err(|why| format!("column {name}: {why}"))
        });
        match cells.collect::<Result<Vec<_>, _>>() {
            Ok(cells) => columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell)),
            Err(why) => rejected.push((at, why)),
        }
    }
    if rejected.len() < rows.len() {
        let first = (0..rows.len()).find(|at| rejected.iter().all(|(other, _)| other != at)).unwrap_or_default();
        write_file(settings, &columns, rows[first].id)?;
    }
    Ok(if rejected.is_empty() { Delivered::All } else { Delivered::Some { rejected } })
}

/// Writes a file whose name has the time and its first row's id.
fn write_file(settings: &ParquetSettings, columns: &[ParquetColumn], first: u128) -> Result<(), ParquetError> {
    let (prefix, folder) = (&settings.prefix, &settings.folder);
    let name = format!("{prefix}-{}-{first:032x}.parquet", unix_ms());
    let hidden = folder.join(format!(".{prefix}-{}-{first:032x}.partial", *PROCESS));
    let written = write_hidden(settings, columns, &hidden).and_then(|()| {
        give_name(folder, &hidden, &folder.join(name))?;
        Ok(())
    });
    if written.is_err() {
        // The room that it takes may be what is lacking.
        let _ = fs::remove_file(&hidden);
    }
    written
}

fn write_hidden(settings: &ParquetSettings, columns: &[ParquetColumn], hidden: &Path) -> Result<(), ParquetError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(hidden)?;
    let compression = if settings.compresses { Compression::SNAPPY } else { Compression::UNCOMPRESSED };
    let properties =
        WriterProperties::builder().set_compression(compression).set_created_by("dunlin".to_owned()).build();
    let mut writer = SerializedFileWriter::new(BufWriter::new(file), schema(settings)?, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let mut remaining = columns.iter();
    while let (Some(mut into), Some(column)) = (group.next_column()?, remaining.next()) {
        column.write(&mut into)?;
        into.close()?;
    }
    group.close()?;
    let mut buffered = writer.into_inner()?;
    buffered.flush()?;
    buffered.get_ref().sync_all()?;
    Ok(())
}

fn schema(settings: &ParquetSettings) -> Result<TypePtr, ParquetError> {
    let fields: Result<Vec<TypePtr>, _> =
        settings.columns.iter().map(|(name, _, kind)| column::field(name, *kind).map(Arc::new)).collect();
    Ok(Arc::new(Type::group_type_builder("message").with_fields(fields?).build()?))
}

/// Gives a synced file its name, unless another has it, and syncs the folder that says so.
fn give_name(folder: &Path, hidden: &Path, name: &Path) -> io::Result<()> {
    let at = rustix::fs::CWD;
    match renameat_with(at, hidden, at, name, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // A file system that cannot promise that: names have a time and an id in them.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !name.exists() => fs::rename(hidden, name)?,
        Err(error) => return Err(error.into()),
    }
    File::open(folder)?.sync_all()
}

fn unix_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests;
