//! Lays VHD files by the description of the format, not with the code under test: every layout and every mistake.

use lunkeep_target::image::{BlockFile, MemoryFile};

/// A block of a dynamic disk.
pub(crate) struct Block {
    pub(crate) number: u32,
    /// Where it starts in the file, in bytes.
    pub(crate) at: u64,
    /// The first bytes of the bitmap; the rest is ones.
    pub(crate) bitmap: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// What a file shall be like. Its blocks are not checked: that is the point.
pub(crate) struct VhdFile {
    pub(crate) kind: u32,
    pub(crate) size: u64,
    pub(crate) original_size: u64,
    pub(crate) creator: [u8; 4],
    pub(crate) chs: [u8; 4],
    pub(crate) saved_state: u8,
    pub(crate) header_at: u64,
    pub(crate) table_at: u64,
    pub(crate) entries: u32,
    pub(crate) block_size: u32,
    pub(crate) blocks: Vec<Block>,
    /// Where the footer at the end is.
    pub(crate) footer_at: u64,
    /// Name of the parent: a relative locator and the header's field.
    pub(crate) parent: Option<&'static str>,
}

pub(crate) const FOOTER_SUM: usize = 64;
pub(crate) const HEADER_SUM: usize = 36;

impl VhdFile {
    /// A dynamic disk of 16 KiB blocks of 4 KiB without any block, laid out as Windows 7 did.
    pub(crate) fn dynamic(size: u64) -> Self {
        Self {
            kind: 3,
            size,
            original_size: size,
            creator: *b"win ",
            chs: [0, 10, 4, 17],
            saved_state: 0,
            header_at: 512,
            table_at: 1536,
            entries: u32::try_from(size.div_ceil(4096)).unwrap(),
            block_size: 4096,
            blocks: Vec::new(),
            footer_at: 2048,
            parent: None,
        }
    }

    /// Adds a block with a full bitmap and puts the footer behind it.
    pub(crate) fn with(mut self, number: u32, at: u64, fill: u8) -> Self {
        let payload = vec![fill; self.block_size as usize];
        self.blocks.push(Block { number, at, bitmap: Vec::new(), payload });
        self.footer_at = self.footer_at.max(at + 512 + u64::from(self.block_size));
        self
    }

    pub(crate) fn footer(&self) -> [u8; 512] {
        let mut f = [0u8; 512];
        f[..8].copy_from_slice(b"conectix");
        f[11] = 2;
        f[13] = 1;
        f[16..24].copy_from_slice(&if self.kind == 2 { u64::MAX } else { self.header_at }.to_be_bytes());
        f[28..32].copy_from_slice(&self.creator);
        f[36..40].copy_from_slice(b"Wi2k");
        f[40..48].copy_from_slice(&self.original_size.to_be_bytes());
        f[48..56].copy_from_slice(&self.size.to_be_bytes());
        f[56..60].copy_from_slice(&self.chs);
        f[60..64].copy_from_slice(&self.kind.to_be_bytes());
        f[68..84].copy_from_slice(b"0123456789abcdef");
        f[84] = self.saved_state;
        // What Windows 10 leaves in the reserved bytes.
        f[200..204].copy_from_slice(b"junk");
        seal(&mut f, FOOTER_SUM);
        f
    }

    fn header(&self) -> [u8; 1024] {
        let mut h = [0u8; 1024];
        h[..8].copy_from_slice(b"cxsparse");
        h[8..16].fill(0xff);
        h[16..24].copy_from_slice(&self.table_at.to_be_bytes());
        h[25] = 1;
        h[28..32].copy_from_slice(&self.entries.to_be_bytes());
        h[32..36].copy_from_slice(&self.block_size.to_be_bytes());
        if let Some(parent) = self.parent {
            h[576..580].copy_from_slice(b"W2ru");
            h[584..588].copy_from_slice(&u32::try_from(parent.len() * 2).unwrap().to_be_bytes());
            h[592..600].copy_from_slice(&self.locator_at().to_be_bytes());
        }
        seal(&mut h, HEADER_SUM);
        h
    }

    /// Behind the table.
    fn locator_at(&self) -> u64 {
        (self.table_at + u64::from(self.entries) * 4).next_multiple_of(512)
    }

    pub(crate) fn build(&self) -> MemoryFile {
        let file = MemoryFile::default();
        if self.kind != 2 {
            file.write_all_at(&self.footer(), 0).unwrap();
            file.write_all_at(&self.header(), self.header_at).unwrap();
            let table =
                vec![0xff; usize::try_from(self.size.div_ceil(u64::from(self.block_size)) * 4).unwrap()];
            file.write_all_at(&table, self.table_at).unwrap();
            if let Some(parent) = self.parent {
                let name: Vec<u8> = parent.encode_utf16().flat_map(u16::to_le_bytes).collect();
                file.write_all_at(&name, self.locator_at()).unwrap();
            }
            for block in &self.blocks {
                let sector = u32::try_from(block.at / 512).unwrap();
                file.write_all_at(&sector.to_be_bytes(), self.table_at + u64::from(block.number) * 4)
                    .unwrap();
                let mut bitmap = [0xff; 512];
                bitmap[..block.bitmap.len()].copy_from_slice(&block.bitmap);
                file.write_all_at(&bitmap, block.at).unwrap();
                file.write_all_at(&block.payload, block.at + 512).unwrap();
            }
        }
        file.write_all_at(&self.footer(), self.footer_at).unwrap();
        file
    }
}

/// Puts the checksum right.
pub(crate) fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum: u32 = bytes.iter().map(|b| u32::from(*b)).sum();
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}
