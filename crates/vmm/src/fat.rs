//! FAT volumes, which every firmware, boot loader and distribution reads.

use std::io::{Cursor, Result, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

/// How a volume is made is part of what is made with it.
pub(crate) const RECIPE: &str = include_str!("fat.rs");

/// A volume with a label and these files in its root folder; what is there beside them is for a boot loader.
pub(crate) fn volume(label: [u8; 11], files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let content: usize = files.iter().map(|(_, content)| content.len()).sum();
    // Tables, a root folder and rest clusters take far less than an eighth.
    let size = (content + content / 8 + (4 << 20)).next_multiple_of(1 << 20);
    let mut disk = Cursor::new(vec![0; size]);
    fatfs::format_volume(&mut disk, FormatVolumeOptions::new().volume_label(label))?;
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new())?;
        for (name, content) in files {
            volume.root_dir().create_file(name)?.write_all(content)?;
        }
        volume.unmount()?;
    }
    Ok(disk.into_inner())
}
