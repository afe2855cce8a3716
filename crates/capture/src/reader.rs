//! Reading pcapng, from anywhere: no input makes it panic or take memory that the input does not fill.

use std::io::{self, Read};

use bytes::Bytes;

use crate::Direction;
use crate::pcapng::{self, Interface, Record, option};

/// The longest block that is read; longer ones are taken for damage.
pub const MAX_BLOCK: u32 = 16 << 20;

/// Iterates over the packets of a pcapng file.
///
/// Enhanced packet blocks are packets; every other kind of block that is neither a section's header nor an
/// interface's description is skipped. After an error it ends.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    offset: u64,
    order: ByteOrder,
    interfaces: Vec<Interface>,
    clocks: Vec<Clock>,
    /// Where the current section's interfaces begin.
    section: usize,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a file.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut reader = Self {
            input,
            offset: 0,
            order: ByteOrder::Little,
            interfaces: Vec::new(),
            clocks: Vec::new(),
            section: 0,
            ended: false,
        };
        match reader.block()? {
            Some(block) if block.kind == pcapng::SECTION_HEADER => Ok(reader),
            _ => Err(ReadError::NotPcapng),
        }
    }

    /// The interfaces that have been described so far.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn record(&mut self) -> Result<Option<Record>, ReadError> {
        while let Some(block) = self.block()? {
            match block.kind {
                pcapng::SECTION_HEADER => self.section = self.interfaces.len(),
                pcapng::INTERFACE_DESCRIPTION => {
                    let (interface, clock) = interface(&block, self.order)?;
                    self.interfaces.push(interface);
                    self.clocks.push(clock);
                }
                pcapng::ENHANCED_PACKET => return self.packet(&block).map(Some),
                _ => {}
            }
        }
        Ok(None)
    }

    fn packet(&self, block: &Block) -> Result<Record, ReadError> {
        let mut fields = block.fields(self.order);
        let number = fields.u32()?;
        let high = fields.u32()?;
        let low = fields.u32()?;
        let length = fields.u32()? as usize;
        let original_length = fields.u32()?;
        let data = Bytes::copy_from_slice(fields.padded(length)?);

        let interface = usize::try_from(number)
            .ok()
            .and_then(|number| self.section.checked_add(number))
            .filter(|index| *index < self.interfaces.len())
            .ok_or(ReadError::UnknownInterface { offset: block.offset, interface: number })?;
        let units = u64::from(high) << 32 | u64::from(low);
        let clock = self.clocks.get(interface).copied().unwrap_or_default();
        let at_ns = clock.nanoseconds(units).ok_or(ReadError::Time { offset: block.offset })?;

        let mut record = Record { interface, at_ns, data, original_length, ..Record::default() };
        while let Some((code, value)) = fields.option()? {
            match code {
                option::COMMENT => record.comments.push(String::from_utf8_lossy(value).into_owned()),
                option::PACKET_FLAGS => {
                    record.direction = match self.order.u32(fixed(value, block)?) & 3 {
                        1 => Some(Direction::Inbound),
                        2 => Some(Direction::Outbound),
                        _ => None,
                    }
                }
                option::PACKET_ID => record.id = Some(self.order.u64(fixed(value, block)?)),
                _ => {}
            }
        }
        Ok(record)
    }

    /// Reads the next block; `None` at the end of the file.
    fn block(&mut self) -> Result<Option<Block>, ReadError> {
        let offset = self.offset;
        let mut kind = [0; 4];
        match self.read(&mut kind)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(ReadError::Truncated { offset }),
        }
        // The section header's number reads the same in both orders.
        let section = u32::from_le_bytes(kind) == pcapng::SECTION_HEADER;
        let length = self.exactly(offset)?;
        let mut body = Vec::new();
        if section {
            let magic = self.exactly(offset)?;
            self.order = match u32::from_le_bytes(magic) {
                pcapng::BYTE_ORDER_MAGIC => ByteOrder::Little,
                magic if magic.swap_bytes() == pcapng::BYTE_ORDER_MAGIC => ByteOrder::Big,
                _ => return Err(ReadError::NotPcapng),
            };
            body.extend(magic);
        } else if offset == 0 {
            return Err(ReadError::NotPcapng);
        }
        let length = self.order.u32(length);
        let rest = (length as usize).checked_sub(12 + body.len());
        let (Some(rest), true, true) = (rest, length.is_multiple_of(4), length <= MAX_BLOCK) else {
            return Err(ReadError::Length { offset, length });
        };
        // Grows with what is there, not with what is promised.
        let read = self.input.by_ref().take(rest as u64).read_to_end(&mut body)?;
        self.offset += read as u64;
        if read < rest {
            return Err(ReadError::Truncated { offset });
        }
        if self.order.u32(self.exactly(offset)?) != length {
            return Err(ReadError::Length { offset, length });
        }
        Ok(Some(Block { offset, kind: self.order.u32(kind), body }))
    }

    fn exactly(&mut self, block: u64) -> Result<[u8; 4], ReadError> {
        let mut bytes = [0; 4];
        match self.read(&mut bytes)? {
            4 => Ok(bytes),
            _ => Err(ReadError::Truncated { offset: block }),
        }
    }

    /// Fills `bytes` unless the input ends before.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.record().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn interface(block: &Block, order: ByteOrder) -> Result<(Interface, Clock), ReadError> {
    let mut fields = block.fields(order);
    let [a, b, _, _] = fields.array()?;
    let link_type = order.u16([a, b]);
    let _snap_length = fields.u32()?;
    let mut interface = Interface { name: None, description: None, link_type };
    let mut clock = Clock::default();
    while let Some((code, value)) = fields.option()? {
        match code {
            option::INTERFACE_NAME => interface.name = Some(String::from_utf8_lossy(value).into_owned()),
            option::INTERFACE_DESCRIPTION => {
                interface.description = Some(String::from_utf8_lossy(value).into_owned());
            }
            option::INTERFACE_TIME_RESOLUTION => [clock.resolution] = fixed(value, block)?,
            option::INTERFACE_TIME_OFFSET => clock.offset = order.u64(fixed(value, block)?) as i64,
            _ => {}
        }
    }
    Ok((interface, clock))
}

/// An option's value of known length.
fn fixed<const N: usize>(value: &[u8], block: &Block) -> Result<[u8; N], ReadError> {
    value.try_into().map_err(|_| ReadError::Field { offset: block.offset })
}

/// A block without its frame of kind and lengths.
#[derive(Debug)]
struct Block {
    offset: u64,
    kind: u32,
    body: Vec<u8>,
}

impl Block {
    fn fields(&self, order: ByteOrder) -> Fields<'_> {
        Fields { rest: &self.body, order, offset: self.offset }
    }
}

/// What is still to be read of a block's body.
struct Fields<'a> {
    rest: &'a [u8],
    order: ByteOrder,
    offset: u64,
}

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ReadError::Field { offset: self.offset })?;
        self.rest = rest;
        Ok(*array)
    }

    fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(self.order.u32(self.array()?))
    }

    /// Takes `length` bytes and the padding after them.
    fn padded(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let padded = length.checked_next_multiple_of(4).ok_or(ReadError::Field { offset: self.offset })?;
        let (taken, rest) =
            self.rest.split_at_checked(padded).ok_or(ReadError::Field { offset: self.offset })?;
        self.rest = rest;
        taken.get(..length).ok_or(ReadError::Field { offset: self.offset })
    }

    /// Takes the next option; `None` when there is none left.
    fn option(&mut self) -> Result<Option<(u16, &'a [u8])>, ReadError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let [a, b, c, d] = self.array()?;
        match self.order.u16([a, b]) {
            option::END => Ok(None),
            code => Ok(Some((code, self.padded(self.order.u16([c, d]).into())?))),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }
}

/// How an interface counts time.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// `if_tsresol`: a negative power of ten, or of two with the highest bit set.
    resolution: u8,
    /// `if_tsoffset`: seconds to add.
    offset: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { resolution: 6, offset: 0 }
    }
}

impl Clock {
    fn nanoseconds(self, units: u64) -> Option<u64> {
        const SECOND: i128 = 1_000_000_000;
        let exponent = u32::from(self.resolution & 0x7f);
        let units = i128::from(units);
        let since_offset = if self.resolution & 0x80 != 0 {
            (units * SECOND) >> exponent
        } else if exponent <= 9 {
            units * 10i128.pow(9 - exponent)
        } else {
            10i128.checked_pow(exponent - 9).map_or(0, |divisor| units / divisor)
        };
        u64::try_from(since_offset + i128::from(self.offset) * SECOND).ok()
    }
}

/// Why a file could not be read, with the offset of the block at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The input failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It begins like no pcapng file.
    #[error("not a pcapng file")]
    NotPcapng,
    /// It ends within a block.
    #[error("the file ends within the block at byte {offset}: was its writer killed?")]
    Truncated {
        /// Where the block begins.
        offset: u64,
    },
    /// A block's two lengths differ, or are impossible.
    #[error("the block at byte {offset} has the impossible length {length}")]
    Length {
        /// Where the block begins.
        offset: u64,
        /// What it says.
        length: u32,
    },
    /// A field or option reaches beyond its block, or has not its length.
    #[error("the block at byte {offset} has a field that does not fit")]
    Field {
        /// Where the block begins.
        offset: u64,
    },
    /// A packet names an interface that was not described.
    #[error("the packet at byte {offset} is of interface {interface}, which is not described")]
    UnknownInterface {
        /// Where the block begins.
        offset: u64,
        /// What it names.
        interface: u32,
    },
    /// A packet's time cannot be told in nanoseconds since the epoch.
    #[error("the time of the packet at byte {offset} is out of range")]
    Time {
        /// Where the block begins.
        offset: u64,
    },
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
    use pcap_file::pcapng::{Block as Peer, PcapNgReader};
    use proptest::prelude::*;

    use super::*;
    use crate::Writer;

    fn records() -> impl Strategy<Value = (Vec<Interface>, Vec<Record>)> {
        let text = "[a-z0-9 äß→]{0,30}";
        let interface = (proptest::option::of(text), proptest::option::of(text))
            .prop_map(|(name, description)| Interface { name, description, link_type: pcapng::ETHERNET });
        let record = (
            any::<prop::sample::Index>(),
            any::<u64>(),
            prop::collection::vec(any::<u8>(), 0..100),
            any::<u32>(),
            prop::option::of(prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)]),
            any::<Option<u64>>(),
            prop::collection::vec(text, 0..3),
        );
        (prop::collection::vec(interface, 1..4), prop::collection::vec(record, 0..20)).prop_map(
            |(interfaces, records)| {
                let record = |(index, at_ns, data, original_length, direction, id, comments): (
                    prop::sample::Index,
                    _,
                    Vec<u8>,
                    _,
                    _,
                    _,
                    _,
                )| Record {
                    interface: index.index(interfaces.len()),
                    at_ns,
                    data: data.into(),
                    original_length,
                    direction,
                    id,
                    comments,
                };
                let records = records.into_iter().map(record).collect();
                (interfaces, records)
            },
        )
    }

    fn written(interfaces: &[Interface], records: &[Record]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for interface in interfaces {
            writer.interface(interface).unwrap();
        }
        for record in records {
            writer.record(record).unwrap();
        }
        writer.into_inner()
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Interface>, Vec<Record>), ReadError> {
        let mut reader = Reader::new(bytes)?;
        let records = reader.by_ref().collect::<Result<_, _>>()?;
        Ok((reader.interfaces().to_vec(), records))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((interfaces, records) in records()) {
            let (interfaces_read, records_read) = read(&written(&interfaces, &records)).unwrap();
            prop_assert_eq!(interfaces_read, interfaces);
            prop_assert_eq!(records_read, records);
        }

        #[test]
        fn another_reader_reads_the_same((interfaces, records) in records()) {
            let bytes = written(&interfaces, &records);
            let mut peer = PcapNgReader::new(&bytes[..]).unwrap();
            let (mut names, mut seen) = (Vec::new(), Vec::new());
            while let Some(block) = peer.next_block() {
                match block.unwrap() {
                    Peer::InterfaceDescription(it) => {
                        names.push(it.options.iter().find_map(|option| match option {
                            InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                            _ => None,
                        }));
                        prop_assert!(it.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                    }
                    Peer::EnhancedPacket(it) => seen.push(Record {
                        interface: it.interface_id as usize,
                        at_ns: it.timestamp.as_nanos() as u64,
                        data: Bytes::copy_from_slice(&it.data),
                        original_length: it.original_len,
                        direction: it.options.iter().find_map(|option| match option {
                            EnhancedPacketOption::Flags(1) => Some(Direction::Inbound),
                            EnhancedPacketOption::Flags(2) => Some(Direction::Outbound),
                            _ => None,
                        }),
                        id: it.options.iter().find_map(|option| match option {
                            EnhancedPacketOption::Unknown(it) if it.code == option::PACKET_ID => {
                                Some(u64::from_le_bytes(it.value[..].try_into().unwrap()))
                            }
                            _ => None,
                        }),
                        comments: it.options.iter().filter_map(|option| match option {
                            EnhancedPacketOption::Comment(it) => Some(it.to_string()),
                            _ => None,
                        }).collect(),
                    }),
                    other => panic!("no such block was written: {other:?}"),
                }
            }
            prop_assert_eq!(names, interfaces.into_iter().map(|it| it.name).collect::<Vec<_>>());
            prop_assert_eq!(seen, records);
        }

        #[test]
        fn a_file_cut_short_gives_what_is_whole_and_says_so((interfaces, records) in records(), at: prop::sample::Index) {
            let bytes = written(&interfaces, &records);
            let at = at.index(bytes.len());
            match Reader::new(&bytes[..at]) {
                Err(error) => prop_assert!(at < 60, "{} at {}", error, at),
                Ok(reader) => {
                    let read: Vec<_> = reader.collect();
                    let whole: Vec<_> = read.iter().filter_map(|record| record.as_ref().ok()).collect();
                    prop_assert!(whole.iter().zip(&records).all(|(read, written)| *read == written));
                    let short = |end: &Result<_, _>| matches!(end, Err(ReadError::Truncated { .. }));
                    prop_assert!(read.iter().skip(whole.len()).all(short));
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(reader) = Reader::new(bytes) {
                reader.for_each(drop);
            }
        });
    }

    #[test]
    fn no_damage_to_a_capture_makes_it_panic() {
        let interfaces =
            [Interface { description: Some("a link".into()), ..Interface::ethernet("nat1.wan") }];
        let record = Record {
            at_ns: 1,
            data: Bytes::from_static(b"frame"),
            direction: Some(Direction::Inbound),
            id: Some(7),
            comments: vec!["dropped: cut".into()],
            ..Record::default()
        };
        let whole = written(&interfaces, &[record.clone(), record]);
        bolero::check!().with_type::<Vec<(u16, u8)>>().for_each(|damage| {
            let mut bytes = whole.clone();
            for (at, value) in damage {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *value;
            }
            if let Ok(reader) = Reader::new(&bytes[..]) {
                reader.for_each(drop);
            }
        });
    }

    /// A capture of one packet by another program: big-endian, microseconds, an interface without a name.
    fn foreign(interface_options: &[u8], units: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut block = |kind: u32, body: &[u8]| {
            let length = (body.len() as u32 + 12).to_be_bytes();
            bytes.extend([&kind.to_be_bytes()[..], &length, body, &length].concat());
        };
        let section = [&0x1a2b_3c4du32.to_be_bytes()[..], &[0, 1, 0, 0], &[0xff; 8]].concat();
        block(pcapng::SECTION_HEADER, &section);
        block(pcapng::INTERFACE_DESCRIPTION, &[&[0, 1, 0, 0, 0, 0, 0, 0], interface_options].concat());
        block(5, &[0; 12]);
        let lengths = [0, 0, 0, 2, 0, 0, 0, 9];
        block(pcapng::ENHANCED_PACKET, &[&[0; 4][..], &units.to_be_bytes(), &lengths, b"hi\0\0"].concat());
        bytes
    }

    #[test]
    fn reads_other_byte_orders_and_clocks() {
        let second_and_a_half: [(&[u8], u64); 5] = [
            (&[], 1_500_000),
            (&[0, 9, 0, 1, 3, 0, 0, 0], 1_500),
            (&[0, 9, 0, 1, 12, 0, 0, 0], 1_500_000_000_000),
            (&[0, 9, 0, 1, 0x81, 0, 0, 0], 3),
            (&[0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], 500_000),
        ];
        for (options, units) in second_and_a_half {
            let (interfaces, records) = read(&foreign(options, units)).unwrap();
            assert_eq!(interfaces, [Interface { name: None, description: None, link_type: 1 }]);
            let data = Bytes::from_static(b"hi");
            let expected = Record { at_ns: 1_500_000_000, data, original_length: 9, ..Record::default() };
            assert_eq!(records, [expected], "{options:?}");
        }
    }

    #[test]
    fn a_time_out_of_range_is_an_error() {
        for (options, units) in [
            (&[0, 9, 0, 1, 0, 0, 0, 0][..], u64::MAX),
            (&[0, 14, 0, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0),
        ] {
            assert!(matches!(read(&foreign(options, units)), Err(ReadError::Time { .. })));
        }
    }

    #[test]
    fn two_files_in_a_row_are_read_as_one() {
        let record = Record { at_ns: 5, ..Record::default() };
        let file = |name| written(&[Interface::ethernet(name)], std::slice::from_ref(&record));
        let (interfaces, records) = read(&[file("a"), file("b")].concat()).unwrap();
        assert_eq!(interfaces.len(), 2);
        assert_eq!(records.iter().map(|record| record.interface).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_is_no_capture_is_refused_with_the_reason() {
        assert!(matches!(Reader::new(&b""[..]), Err(ReadError::NotPcapng)));
        assert!(matches!(Reader::new(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..]), Err(ReadError::NotPcapng)));
        let mut bytes = written(&[Interface::ethernet("a")], &[]);
        let at = bytes.len();
        bytes.extend([6, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff]);
        match read(&bytes) {
            Err(ReadError::Length { offset, length: 0xffff_fffc }) => assert_eq!(offset, at as u64),
            other => panic!("{other:?}"),
        }
    }
}
