//! A pcapng file block by block, whatever is in the blocks.

use std::io::{self, Read, Seek, SeekFrom};

use crate::MAX_BLOCK;
use crate::pcapng::ENHANCED_PACKET;

/// The blocks of a file that [`crate::Writer`] wrote, and may still be writing: a block is there when all of it is.
#[derive(Debug)]
pub struct Blocks<R> {
    input: R,
    at: u64,
}

/// A block as it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// All of it, its type and lengths included.
    pub bytes: Vec<u8>,
    /// Whether it is a packet.
    pub is_packet: bool,
}

impl<R: Read + Seek> Blocks<R> {
    /// Those of a file, from its beginning.
    pub fn new(input: R) -> Self {
        Blocks { input, at: 0 }
    }

    /// The next block; none if it is not there as a whole yet.
    ///
    /// Fails if the file cannot be read, or says of a block that it is shorter or longer than any can be.
    pub fn next_whole(&mut self) -> io::Result<Option<Block>> {
        self.input.seek(SeekFrom::Start(self.at))?;
        let mut head = [0; 8];
        if !fill(&mut self.input, &mut head)? {
            return Ok(None);
        }
        let [kind, length] =
            [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if !(12..=MAX_BLOCK).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a block of {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        bytes[..8].copy_from_slice(&head);
        if !fill(&mut self.input, &mut bytes[8..])? {
            return Ok(None);
        }
        self.at += u64::from(length);
        Ok(Some(Block { bytes, is_packet: kind == ENHANCED_PACKET }))
    }

    /// Whether nothing is left, not even a part of a block.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.input.seek(SeekFrom::End(0))? == self.at)
    }

    /// What follows the last block that was taken.
    pub fn into_rest(mut self) -> io::Result<R> {
        self.input.seek(SeekFrom::Start(self.at))?;
        Ok(self.input)
    }
}

/// Fills a buffer; false if there is too little yet.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn block(kind: u32, body: usize) -> Vec<u8> {
        let length = 12 + body as u32;
        let mut block = [kind.to_le_bytes(), length.to_le_bytes()].concat();
        block.resize(8 + body, 0xab);
        block.extend(length.to_le_bytes());
        block
    }

    #[test]
    fn a_block_is_taken_when_it_is_whole() {
        let [first, second] = [block(ENHANCED_PACKET, 40), block(1, 8)];
        let all = [first.clone(), second.clone()].concat();
        let mut blocks = Blocks::new(Cursor::new(all[..30].to_vec()));
        assert_eq!(blocks.next_whole().unwrap(), None);
        assert!(!blocks.is_at_end().unwrap());
        *blocks.input.get_mut() = all[..first.len() + 6].to_vec();
        assert_eq!(blocks.next_whole().unwrap(), Some(Block { bytes: first, is_packet: true }));
        assert_eq!(blocks.next_whole().unwrap(), None, "not even its head is there");
        *blocks.input.get_mut() = all;
        assert_eq!(blocks.next_whole().unwrap(), Some(Block { bytes: second, is_packet: false }));
        assert!(blocks.is_at_end().unwrap());
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        for length in [0_u32, 11, u32::MAX] {
            let bytes = [ENHANCED_PACKET.to_le_bytes(), length.to_le_bytes()].concat();
            assert!(Blocks::new(Cursor::new(bytes)).next_whole().is_err(), "{length}");
        }
    }
}
