//! Keeps container logs small: a file above 10 MiB is put aside and begun anew, five files stay.
//!
//! Kubernetes: pkg/kubelet/logs/container_log_manager.go.

use crate::runtime::{Container, Runtime, State};
use jiff::Timestamp;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Kubernetes: `containerLogMaxSize`.
const MAX_BYTES: u64 = 10 << 20;
/// Kubernetes: `containerLogMaxFiles`, the current one included.
const MAX_FILES: usize = 5;
/// Kubernetes: `containerLogMonitorInterval`.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks after the logs of running containers for ever.
pub async fn run(runtime: Arc<dyn Runtime>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(containers) = runtime.list_containers(None).await else { continue };
        for container in containers.iter().filter(|c| matches!(c.state, State::Running { .. })) {
            if let Err(error) = look_at(runtime.as_ref(), container, MAX_BYTES).await {
                tracing::warn!(container = container.name, %error, "log not rotated");
            }
        }
    }
}

async fn look_at(runtime: &dyn Runtime, container: &Container, max_bytes: u64) -> io::Result<()> {
    let Ok(status) = runtime.container_status(&container.id).await else { return Ok(()) };
    let log = PathBuf::from(status.log_path);
    match std::fs::metadata(&log) {
        Ok(metadata) if metadata.len() > max_bytes => {}
        _ => return Ok(()),
    }
    forget_oldest(&log)?;
    let aside = aside(&log);
    std::fs::rename(&log, &aside)?;
    if let Err(error) = runtime.reopen_container_log(&container.id).await {
        // The runtime still writes to the old file: give it its name back.
        std::fs::rename(&aside, &log)?;
        return Err(io::Error::other(error));
    }
    compress_older(&log, &aside)
}

fn aside(log: &Path) -> PathBuf {
    let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    PathBuf::from(format!("{}.{stamp}", log.display()))
}

/// Files put aside, the oldest first: their names end with their time.
fn put_aside(log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Makes room for the file that is about to be put aside beside the new one.
fn forget_oldest(log: &Path) -> io::Result<()> {
    let files = put_aside(log)?;
    let too_many = (files.len() + 2).saturating_sub(MAX_FILES);
    files.iter().take(too_many).try_for_each(std::fs::remove_file)
}

/// The newest stays plain: somebody may be following it.
fn compress_older(log: &Path, newest: &Path) -> io::Result<()> {
    for file in put_aside(log)? {
        let is_plain = file.extension().is_none_or(|extension| extension != "gz");
        if file == newest || !is_plain {
            continue;
        }
        let target = PathBuf::from(format!("{}.gz", file.display()));
        let mut encoder =
            flate2::write::GzEncoder::new(std::fs::File::create(&target)?, flate2::Compression::default());
        io::copy(&mut std::fs::File::open(&file)?, &mut encoder)?;
        encoder.finish()?;
        std::fs::remove_file(&file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_files_stay_and_the_older_are_compressed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for number in 0..7 {
            forget_oldest(&log).unwrap();
            std::fs::write(&log, "x").unwrap();
            let aside = dir.path().join(format!("0.log.20261121-00000{number}"));
            std::fs::rename(&log, &aside).unwrap();
            std::fs::write(&log, "y").unwrap();
            compress_older(&log, &aside).unwrap();
        }
        let names: Vec<String> = put_aside(&log)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let expected = [
            "0.log.20261121-000003.gz",
            "0.log.20261121-000004.gz",
            "0.log.20261121-000005.gz",
            "0.log.20261121-000006",
        ];
        assert_eq!(names, expected);
    }
}
