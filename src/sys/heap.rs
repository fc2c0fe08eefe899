//! The program's heap: a piece of the binary's own zeroed memory first, the C library's heap when that is used up.
//!
//! A command of the runtime lives for milliseconds and asks for some thousand small pieces of memory. musl's heap maps and
//! unmaps pages for them again and again, as a program that stays wants it: forty calls of each kind in one `run`, and a
//! page fault for whatever is mapped. Here a piece that is given back is simply the next one of its size to be taken, and
//! no memory goes back to the kernel before the end. What that saves is in `docs/decisions/heap.md`.
//!
//! Sizes are rounded up to a class, at most a quarter more than was asked for. Each class has a list of the pieces that were given
//! back; the list lives in the pieces. Nothing is ever split or joined, so the worst that a long life can make of
//! it is that the arena is full, and then everything is the C library's. The same goes for large pieces.
//!
//! One flag guards it. Whoever finds it set goes to the C library, or lets his piece go to waste, rather than wait: so a process that is
//! cloned while another thread allocates finds a heap that works.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, copy_nonoverlapping, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes at hand. What nobody touches costs nothing.
const ARENA: usize = 512 << 10;
/// The largest piece that is taken from the arena.
const LARGEST: usize = 32 << 10;
/// The alignment of every piece, and the smallest size.
const GRAIN: usize = 16;
/// Classes below this are multiples of [`GRAIN`]; above, there are four for each power of two.
const FINE: usize = 8 * GRAIN;
const CLASSES: usize = class(LARGEST).0 + 1;

/// The heap of a binary: `#[global_allocator] static HEAP: Heap = Heap::new();`
pub struct Heap {
    busy: AtomicBool,
    state: UnsafeCell<State>,
    arena: UnsafeCell<MaybeUninit<Arena>>,
}

#[repr(C, align(4096))]
struct Arena([u8; ARENA]);

struct State {
    /// Bytes of the arena that were ever handed out.
    used: usize,
    /// What was given back, by class.
    free: [Option<NonNull<Free>>; CLASSES],
}

/// A piece that was given back.
struct Free {
    next: Option<NonNull<Free>>,
}

/// The class of a size, and the bytes that its pieces have.
const fn class(size: usize) -> (usize, usize) {
    if size <= FINE {
        let grains = if size == 0 { 1 } else { size.div_ceil(GRAIN) };
        return (grains - 1, grains * GRAIN);
    }
    let power = (size - 1).ilog2();
    let step = 1 << (power - 2);
    let steps = size.div_ceil(step);
    // `steps` is 5 to 8: so many quarters of 2^power.
    let first = FINE / GRAIN + 4 * (power - FINE.ilog2()) as usize;
    (first + steps - 5, steps * step)
}

// SAFETY: `state` and `arena` are only reached through `Heap::with`, by one thread at a time.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty heap; it takes no time and no memory.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a heap is a static, whose value has to be constant"
    )]
    pub const fn new() -> Self {
        Heap {
            busy: AtomicBool::new(false),
            state: UnsafeCell::new(State {
                used: 0,
                free: [None; CLASSES],
            }),
            arena: UnsafeCell::new(MaybeUninit::zeroed()),
        }
    }

    /// Does something with the lists and the arena's first byte, unless somebody else is at it.
    fn with<T>(&self, act: impl FnOnce(&mut State, NonNull<u8>) -> T) -> Option<T> {
        if self.busy.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the flag was not set, and whoever finds it set keeps away. `act` is ours and does not come back here.
        let state = unsafe { &mut *self.state.get() };
        let done = act(state, self.start());
        self.busy.store(false, Ordering::Release);
        Some(done)
    }

    fn start(&self) -> NonNull<u8> {
        // Only writing through it takes more than a shared borrow, which is what the cell is for.
        NonNull::from(&self.arena).cast()
    }

    /// Whether a piece is one of the arena's.
    fn owns(&self, piece: *mut u8) -> bool {
        piece.addr().wrapping_sub(self.start().addr().get()) < ARENA
    }
}

impl State {
    /// A piece of this class: the one that was given back last, or a new one.
    fn take(&mut self, class: usize, size: usize, arena: NonNull<u8>) -> Option<NonNull<u8>> {
        let list = self.free.get_mut(class)?;
        if let Some(piece) = *list {
            // SAFETY: pieces in the list are the arena's and nobody else's since `give` has written this value there.
            *list = unsafe { piece.as_ref() }.next;
            return Some(piece.cast());
        }
        let end = self.used.checked_add(size).filter(|end| *end <= ARENA)?;
        // SAFETY: `used` is at most ARENA.
        let piece = unsafe { arena.add(self.used) };
        self.used = end;
        Some(piece)
    }

    /// Takes a piece of this class back.
    fn give(&mut self, class: usize, piece: NonNull<u8>) {
        let Some(list) = self.free.get_mut(class) else {
            return;
        };
        let piece = piece.cast::<Free>();
        // SAFETY: the piece is the arena's, at least GRAIN large and aligned to it, and its owner has given it up.
        unsafe { piece.write(Free { next: *list }) };
        *list = Some(piece);
    }
}

// SAFETY: pieces of the arena are as large as their class, which is at least what was asked for, aligned to GRAIN, and in the
// hands of one owner until they come back; all others are the C library's.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() <= LARGEST && layout.align() <= GRAIN {
            let (class, size) = class(layout.size());
            if let Some(Some(piece)) = self.with(|state, arena| state.take(class, size, arena)) {
                return piece.as_ptr();
            }
        }
        // SAFETY: the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            // SAFETY: the caller's promises. What is fresh from the kernel need not be cleared.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promises.
        let piece = unsafe { self.alloc(layout) };
        if !piece.is_null() {
            // SAFETY: it has that many bytes.
            unsafe { piece.write_bytes(0, layout.size()) };
        }
        piece
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if !self.owns(piece) {
            // SAFETY: it is not ours, so `alloc` or `realloc` had it from there.
            return unsafe { System.dealloc(piece, layout) };
        }
        if let Some(piece) = NonNull::new(piece) {
            self.with(|state, _| state.give(class(layout.size()).0, piece));
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.owns(piece) {
            // SAFETY: as in `dealloc`.
            return unsafe { System.realloc(piece, layout, size) };
        }
        if size <= LARGEST && class(size).0 == class(layout.size()).0 {
            return piece;
        }
        // SAFETY: the caller promises that `size` is not 0 and no overflow when rounded up to the alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if new.is_null() {
            return null_mut();
        }
        // SAFETY: both are valid for that many bytes, and two pieces never overlap; the old one is given up.
        unsafe {
            copy_nonoverlapping(piece, new, layout.size().min(size));
            self.dealloc(piece, layout);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_class_of_the_smallest_pieces_that_hold_it() {
        let mut last = (0, GRAIN);
        for size in 1..=LARGEST {
            let (class, bytes) = class(size);
            assert!(bytes >= size && bytes % GRAIN == 0, "{size}: {bytes}");
            assert!(bytes - size < GRAIN.max(size / 4 + 1), "{size} wastes: {bytes}");
            if (class, bytes) != last {
                assert_eq!(last.1, size - 1, "the class before {size} ends there");
                assert_eq!(class, last.0 + 1);
                last = (class, bytes);
            }
        }
        assert_eq!(last, (CLASSES - 1, LARGEST));
    }

    #[test]
    fn a_piece_that_was_given_back_is_the_next_of_its_size() {
        static HEAP: Heap = Heap::new();
        let heap = &HEAP;
        let layout = Layout::from_size_align(100, 8).unwrap();
        let other = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: pieces are used within their layouts and not after they are given back.
        unsafe {
            let first = heap.alloc(layout);
            let second = heap.alloc(layout);
            assert!(heap.owns(first) && heap.owns(second) && first != second);
            heap.dealloc(first, layout);
            assert_ne!(heap.alloc(other), first);
            assert_eq!(heap.alloc(layout), first);
        }
    }

    #[test]
    fn what_grows_keeps_its_bytes_from_the_arena_to_the_c_library() {
        static HEAP: Heap = Heap::new();
        let heap = &HEAP;
        let mut layout = Layout::from_size_align(1, 1).unwrap();
        // SAFETY: as above.
        unsafe {
            let mut piece = heap.alloc(layout);
            piece.write(7);
            while layout.size() < 4 * LARGEST {
                piece = heap.realloc(piece, layout, layout.size() * 2);
                layout = Layout::from_size_align(layout.size() * 2, 1).unwrap();
                assert_eq!(piece.read(), 7);
                piece.add(layout.size() - 1).write(9);
            }
            assert!(!heap.owns(piece));
            heap.dealloc(piece, layout);
        }
    }

    #[test]
    fn a_full_arena_and_a_large_alignment_are_the_c_librarys() {
        static HEAP: Heap = Heap::new();
        let heap = &HEAP;
        let layout = Layout::from_size_align(LARGEST, 8).unwrap();
        // SAFETY: as above; what is left goes with the heap.
        unsafe {
            for _ in 0..ARENA / LARGEST {
                assert!(heap.owns(heap.alloc(layout)));
            }
            let beyond = heap.alloc(layout);
            assert!(!beyond.is_null() && !heap.owns(beyond));
            heap.dealloc(beyond, layout);
            let aligned = Layout::from_size_align(64, 64).unwrap();
            let piece = heap.alloc(aligned);
            assert_eq!(piece.addr() % 64, 0);
            heap.dealloc(piece, aligned);
        }
    }

    #[test]
    fn whoever_finds_the_heap_busy_goes_to_the_c_library() {
        static HEAP: Heap = Heap::new();
        let heap = &HEAP;
        let layout = Layout::from_size_align(48, 8).unwrap();
        // SAFETY: as above.
        unsafe {
            let ours = heap.alloc(layout);
            heap.busy.store(true, Ordering::Relaxed);
            let theirs = heap.alloc(layout);
            assert!(!heap.owns(theirs));
            heap.dealloc(theirs, layout);
            heap.dealloc(ours, layout);
            heap.busy.store(false, Ordering::Relaxed);
            assert_ne!(heap.alloc(layout), ours, "nobody could put it into the list");
        }
    }
}
