//! Writing pcapng.

use std::io::{self, Write};

use crate::Direction;
use crate::pcapng::{self, Interface, Record, option};

/// Writes one section of Ethernet packets with nanosecond times, in little-endian order.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    interfaces: usize,
    /// The block under construction; kept for its memory.
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, interfaces: 0, block: Vec::new() };
        writer.begin(pcapng::SECTION_HEADER);
        writer.block.extend(pcapng::BYTE_ORDER_MAGIC.to_le_bytes());
        writer.block.extend([1, 0, 0, 0]); // Version 1.0.
        writer.block.extend((-1i64).to_le_bytes()); // The section's length is not known yet.
        let application = concat!("natrig ", env!("CARGO_PKG_VERSION"));
        writer.option(option::SECTION_APPLICATION, application.as_bytes())?;
        writer.end_options();
        writer.finish()?;
        Ok(writer)
    }

    /// Adds an interface and returns its place among the file's.
    pub fn interface(&mut self, interface: &Interface) -> io::Result<usize> {
        self.begin(pcapng::INTERFACE_DESCRIPTION);
        self.block.extend(interface.link_type.to_le_bytes());
        self.block.extend([0, 0]);
        self.block.extend(pcapng::SNAP_LENGTH.to_le_bytes());
        if let Some(name) = &interface.name {
            self.option(option::INTERFACE_NAME, name.as_bytes())?;
        }
        if let Some(description) = &interface.description {
            self.option(option::INTERFACE_DESCRIPTION, description.as_bytes())?;
        }
        self.option(option::INTERFACE_TIME_RESOLUTION, &[9])?;
        self.end_options();
        self.finish()?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Adds a packet.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        if record.interface >= self.interfaces {
            return Err(invalid(format!("the file has no interface {}", record.interface)));
        }
        let interface = u32::try_from(record.interface).map_err(invalid)?;
        let length = u32::try_from(record.data.len()).map_err(invalid)?;
        self.begin(pcapng::ENHANCED_PACKET);
        self.block.extend(interface.to_le_bytes());
        self.block.extend(((record.at_ns >> 32) as u32).to_le_bytes());
        self.block.extend((record.at_ns as u32).to_le_bytes());
        self.block.extend(length.to_le_bytes());
        self.block.extend(record.original_length.to_le_bytes());
        self.block.extend(&record.data);
        self.pad();
        let before_options = self.block.len();
        if let Some(direction) = record.direction {
            let flags: u32 = match direction {
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            };
            self.option(option::PACKET_FLAGS, &flags.to_le_bytes())?;
        }
        if let Some(id) = record.id {
            self.option(option::PACKET_ID, &id.to_le_bytes())?;
        }
        for comment in &record.comments {
            self.option(option::COMMENT, comment.as_bytes())?;
        }
        if self.block.len() > before_options {
            self.end_options();
        }
        self.finish()
    }

    /// Hands everything on to where it is kept.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// What is written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Gives back what was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.block.extend(kind.to_le_bytes());
        self.block.extend([0; 4]); // The length, once it is known.
    }

    fn option(&mut self, code: u16, value: &[u8]) -> io::Result<()> {
        let length = u16::try_from(value.len())
            .map_err(|_| invalid(format!("an option of {} bytes is longer than 65535", value.len())))?;
        self.block.extend(code.to_le_bytes());
        self.block.extend(length.to_le_bytes());
        self.block.extend(value);
        self.pad();
        Ok(())
    }

    fn end_options(&mut self) {
        self.block.extend(option::END.to_le_bytes());
        self.block.extend([0, 0]);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self) -> io::Result<()> {
        let length = u32::try_from(self.block.len() + 4).map_err(invalid)?.to_le_bytes();
        self.block[4..8].copy_from_slice(&length);
        self.block.extend(length);
        self.out.write_all(&self.block)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
