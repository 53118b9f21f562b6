//! Session start, flush and close: when what becomes durable. The module documentation of the format has the order.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use uuid::Uuid;

use super::bat_pages::Dirty;
use super::disk::Vhdx;
use super::header::Headers;
use super::log_entry::{PageImage, Ring};
use super::log_writer::LogWriter;
use crate::image::{Access, DiskError};
use crate::limits::{MAX_VHDX_DIRTY_PAGES, MAX_VHDX_FREED};

/// Places that a flush gives back to the host after it was answered; the rest waits for the next.
const PUNCH_PER_FLUSH: usize = 16;

/// What only the one flusher touches.
#[derive(Debug)]
pub(super) struct Writer {
    headers: Headers,
    ring: Option<Ring>,
    /// The log of this session, once it has started.
    log: Option<LogWriter>,
    /// Images that are in the log and not in place, in the order of the log. Each holds one pin of its page.
    images: Vec<Image>,
    /// How many of these, from the front, are durable in the log.
    durable: usize,
    /// A length of the file that is durable.
    durable_len: u64,
}

#[derive(Debug)]
struct Image {
    page: Page,
    image: PageImage,
}

/// Which page an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Bat(u32),
    Bitmap(u32),
}

impl Writer {
    /// For a file with these headers, whose log is in `ring` and empty, of `len` bytes.
    pub(super) fn new(headers: Headers, ring: Option<Ring>, len: u64) -> Self {
        Self { headers, ring, log: None, images: Vec::new(), durable: 0, durable_len: len }
    }
}

/// Makes everything that was done before the call durable.
pub(super) fn flush(disk: &Vhdx) -> Result<(), DiskError> {
    if disk.health.access() == Access::ReadOnly {
        return disk.health.readable();
    }
    disk.health.writable()?;
    disk.gate.flush(|| disk.flush_now())?;
    disk.space.punch(disk.file.as_ref(), PUNCH_PER_FLUSH);
    Ok(())
}

/// Makes everything durable and leaves the file as one that needs no replay.
pub(super) fn close(disk: &Vhdx) -> Result<(), DiskError> {
    if !disk.health.close() || disk.health.access() == Access::ReadOnly {
        return Ok(());
    }
    // Whoever got past the check before it failed is done when every block was free once.
    disk.drain();
    disk.gate.flush(|| disk.flush_now())?;
    disk.end_session()
}

impl Vhdx {
    /// Tells the file's headers that it is being changed, once, before the first change.
    ///
    /// # Errors
    /// As [`crate::image::Disk::write_at`].
    pub(super) fn start_session(&self) -> Result<(), DiskError> {
        if self.started.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut writer = self.writer();
        self.health.writable()?;
        let (Some(ring), None) = (writer.ring, &writer.log) else {
            return Ok(());
        };
        let guid = || self.env.random_guid().map_err(DiskError::Write);
        let (name, file_write) = (guid()?, guid()?);
        let data_write = self.env.content_guid().map_err(DiskError::Write)?;
        let number = u64::try_from(guid()?.as_u128() & u128::from(u64::MAX >> 2)).unwrap_or(0).max(1);
        let mut log = LogWriter::new(ring, name, number);
        let file = self.file.as_ref();
        // A header that names a log in which nothing is found makes the file unreadable, so the log comes first.
        log.append(file, [].iter(), writer.durable_len, self.space.last_length())
            .map_err(DiskError::of_write)?;
        writer.log = Some(log);
        let started = self.sync(&mut writer).and_then(|()| {
            let headers = &mut writer.headers;
            headers
                .update(file, |header| {
                    header.file_write = file_write;
                    header.data_write = data_write;
                    header.log = name;
                    header.log_version = 0;
                })
                .map_err(|e| self.poison(e))
        });
        if started.is_err() {
            writer.log = None;
            return started;
        }
        self.find_free_places();
        self.started.store(true, Ordering::Release);
        Ok(())
    }

    /// Flushes when so much waits for a flush that memory would grow. Not for callers that hold a block.
    ///
    /// # Errors
    /// As [`crate::image::Disk::write_at`].
    pub(super) fn relieve(&self) -> Result<(), DiskError> {
        let (pages, freed) = self.bat.pressure();
        let pages = pages + self.bitmaps.pressure().0;
        if pages < MAX_VHDX_DIRTY_PAGES && freed < MAX_VHDX_FREED {
            return Ok(());
        }
        self.gate.flush(|| self.flush_now())?;
        while self.space.punch(self.file.as_ref(), PUNCH_PER_FLUSH) {}
        Ok(())
    }

    fn flush_now(&self) -> Result<(), DiskError> {
        if self.health.is_poisoned() {
            return Err(DiskError::Poisoned);
        }
        let mut writer = self.writer();
        if writer.log.is_none() {
            return Ok(());
        }
        // The table before the bitmaps: an entry that is taken here finds its bits taken after it.
        let Dirty { pages, freed } = self.bat.take_dirty();
        let table = self.images(pages.iter().rev().map(|page| Page::Bat(*page)));
        let bitmaps = self.bitmaps.take_dirty().pages;
        let bitmaps_images = self.images(bitmaps.iter().map(|page| Page::Bitmap(*page)));
        let unsynced = self.unsynced.swap(false, Ordering::AcqRel);
        // Images that an earlier flush logged before it failed wait for a sync, too.
        if pages.is_empty() && bitmaps.is_empty() && !unsynced && writer.durable == writer.images.len() {
            return Ok(());
        }
        let mut images = VecDeque::new();
        let logged = bitmaps_images
            .and_then(|bitmaps| {
                images.extend(bitmaps.into_iter().chain(table?));
                Ok(())
            })
            .and_then(|()| {
                if self.backing.is_some() && !images.is_empty() { self.sync(&mut writer) } else { Ok(()) }
            })
            .and_then(|()| self.log_pages(&mut writer, &mut images))
            .and_then(|()| self.sync(&mut writer));
        if let Err(e) = logged {
            let rest = |bitmap: bool| {
                images.iter().filter_map(move |image| match image.page {
                    Page::Bat(page) => (!bitmap).then_some(page),
                    Page::Bitmap(page) => bitmap.then_some(page),
                })
            };
            self.bat.restore(Dirty { pages: rest(false).collect(), freed });
            self.bitmaps.restore(Dirty { pages: rest(true).collect(), freed: Vec::new() });
            self.unsynced.store(true, Ordering::Release);
            return Err(e);
        }
        self.space.give_back(freed);
        // The flush is fulfilled; that pages cannot be put in place now is no failure of it. They stay in the log.
        let _ = self.put_in_place(&mut writer);
        Ok(())
    }

    /// The bytes of these pages as they are now.
    fn images(&self, pages: impl Iterator<Item = Page>) -> Result<Vec<Image>, DiskError> {
        let image = |page| {
            let (of, number) = match page {
                Page::Bat(number) => (&self.bat, number),
                Page::Bitmap(number) => (&self.bitmaps, number),
            };
            let image = PageImage { offset: of.page_offset(number)?, bytes: of.image(number)? };
            Some(Image { page, image })
        };
        // A pinned page is in memory: that it is not cannot be, and going on would lose a change.
        let lost = || self.poison(io::Error::other("a changed page of the file's tables is gone"));
        pages.map(|page| image(page).ok_or_else(lost)).collect()
    }

    /// Writes entries with `images`, taking out each that is in the log.
    fn log_pages(&self, writer: &mut Writer, images: &mut VecDeque<Image>) -> Result<(), DiskError> {
        while let Some(most) = writer.log.as_ref().map(LogWriter::pages_max).filter(|_| !images.is_empty()) {
            let count = images.len().min(most);
            if !writer.log.as_ref().is_some_and(|log| log.has_room(count)) {
                self.make_room(writer)?;
            }
            let now: Vec<&PageImage> = images.iter().take(count).map(|image| &image.image).collect();
            self.append(writer, now.into_iter())?;
            writer.images.extend(images.drain(..count));
        }
        Ok(())
    }

    /// Appends an entry. It has to be called after the images were taken: their blocks lie within `last_length`.
    fn append<'a>(
        &self,
        writer: &mut Writer,
        images: impl ExactSizeIterator<Item = &'a PageImage>,
    ) -> Result<(), DiskError> {
        let (file, last_length) = (self.file.as_ref(), self.space.last_length());
        let durable_len = writer.durable_len;
        let Some(log) = &mut writer.log else { return Ok(()) };
        log.append(file, images, durable_len, last_length).map_err(|e| self.fail(e))
    }

    /// Empties the log: everything in place and durable, and an entry that says so.
    fn make_room(&self, writer: &mut Writer) -> Result<(), DiskError> {
        self.sync(writer)?;
        if !writer.images.is_empty() {
            self.put_in_place(writer)?;
            self.sync(writer)?;
        }
        self.append(writer, [].iter())?;
        self.sync(writer)
    }

    /// Writes the pages of the durable part of the log where they belong.
    fn put_in_place(&self, writer: &mut Writer) -> Result<(), DiskError> {
        let mut done = 0;
        let mut result = Ok(());
        for Image { page, image } in writer.images.iter().take(writer.durable) {
            if let Err(e) = self.file.write_all_at(image.bytes.as_slice(), image.offset) {
                result = Err(self.fail(e));
                break;
            }
            match page {
                Page::Bat(page) => self.bat.unpin(*page),
                Page::Bitmap(page) => self.bitmaps.unpin(*page),
            }
            done += 1;
        }
        writer.images.drain(..done);
        writer.durable -= done;
        if let (Ok(()), Some(log)) = (&result, &mut writer.log) {
            log.in_place();
        }
        result
    }

    fn sync(&self, writer: &mut Writer) -> Result<(), DiskError> {
        let (len, settling) = (self.space.len(), self.space.settling());
        self.file.sync_data().map_err(|e| self.poison(e))?;
        if let Some(log) = &mut writer.log {
            log.synced();
        }
        writer.durable = writer.images.len();
        writer.durable_len = len;
        self.space.settle(settling);
        Ok(())
    }

    fn end_session(&self) -> Result<(), DiskError> {
        let mut writer = self.writer();
        let file = self.file.as_ref();
        if writer.log.is_some() {
            self.put_in_place(&mut writer)?;
            while self.space.punch(file, PUNCH_PER_FLUSH) {}
            self.sync(&mut writer)?;
            writer.headers.update(file, |header| header.log = Uuid::nil()).map_err(|e| self.poison(e))?;
            writer.log = None;
        }
        // Space at the end is no harm: the next block goes behind it.
        if let Err(error) = self.space.cut(file) {
            tracing::warn!(%error, "cannot cut off the unused end of a VHDX file");
        }
        Ok(())
    }

    /// A failed write of metadata: a full file system leaves all as it was, anything else does not.
    fn fail(&self, error: io::Error) -> DiskError {
        match DiskError::of_write(error) {
            DiskError::NoSpace => DiskError::NoSpace,
            DiskError::Write(error) => self.poison(error),
            other => other,
        }
    }

    fn poison(&self, error: io::Error) -> DiskError {
        self.health.poison();
        DiskError::Write(error)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
