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
//!
//! A clone shares its parent's pages until one of both writes to them: then the kernel copies the page, which costs more than twice
//! what a fresh one does. So before a clone the heap is left as it is ([`leave_to_both`]): what was handed out until then is read and written by
//! its owners, but giving it back writes nothing, and both sides go on in pages of their own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, copy_nonoverlapping, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes at hand. What nobody touches costs nothing.
const ARENA: usize = 1 << 20;
/// The largest piece that is taken from the arena: the buffer for a container's messages.
const LARGEST: usize = 64 << 10;
/// The kernel's unit of memory; a larger one does no harm.
const PAGE: usize = 4 << 10;
/// The alignment of every piece, and the smallest size.
const GRAIN: usize = 16;
/// Classes below this are multiples of [`GRAIN`]; above, there are four for each power of two.
const FINE: usize = 8 * GRAIN;
const CLASSES: usize = class(LARGEST).0 + 1;

/// The heap of a binary: `#[global_allocator] static HEAP: Program = Program;`
pub struct Program;

static PROGRAM: Heap = Heap::new();

/// Keeps what the program's heap holds as it is, for the sake of a clone that is about to be made. A piece that is given back
/// later is lost, to the arena's size at most.
pub fn leave_to_both() {
    PROGRAM.leave_to_both();
}

// SAFETY: a heap's promises are its own.
unsafe impl GlobalAlloc for Program {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises, here and below.
        unsafe { PROGRAM.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { PROGRAM.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { PROGRAM.dealloc(piece, layout) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { PROGRAM.realloc(piece, layout, size) }
    }
}

struct Heap {
    busy: AtomicBool,
    state: UnsafeCell<State>,
    arena: UnsafeCell<MaybeUninit<Arena>>,
}

#[repr(C, align(4096))]
struct Arena([u8; ARENA]);

struct State {
    /// Bytes of the arena that were ever handed out. What lies behind them is zero.
    used: usize,
    /// What lies before this belongs to both sides of a clone.
    left: usize,
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
    const fn new() -> Self {
        Heap {
            busy: AtomicBool::new(false),
            state: UnsafeCell::new(State {
                used: 0,
                left: 0,
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

    /// Where in the arena a piece lies, if it is one of the arena's.
    fn place(&self, piece: *mut u8) -> Option<usize> {
        Some(piece.addr().wrapping_sub(self.start().addr().get())).filter(|place| *place < ARENA)
    }

    fn owns(&self, piece: *mut u8) -> bool {
        self.place(piece).is_some()
    }

    /// A piece, and whether it is known to be zero.
    fn piece(&self, layout: Layout) -> Option<(NonNull<u8>, bool)> {
        if layout.size() > LARGEST || layout.align() > GRAIN {
            return None;
        }
        let (class, size) = class(layout.size());
        self.with(|state, arena| state.take(class, size, arena)).flatten()
    }

    fn leave_to_both(&self) {
        self.with(|state, _| {
            state.used = state.used.next_multiple_of(PAGE).min(ARENA);
            state.left = state.used;
            state.free = [None; CLASSES];
        });
    }
}

impl State {
    /// A piece of this class: the one that was given back last, or a new one, which is zero.
    fn take(&mut self, class: usize, size: usize, arena: NonNull<u8>) -> Option<(NonNull<u8>, bool)> {
        let list = self.free.get_mut(class)?;
        if let Some(piece) = *list {
            // SAFETY: pieces in the list are the arena's and nobody else's since `give` has written this value there.
            *list = unsafe { piece.as_ref() }.next;
            return Some((piece.cast(), false));
        }
        let end = self.used.checked_add(size).filter(|end| *end <= ARENA)?;
        // SAFETY: `used` is at most ARENA.
        let piece = unsafe { arena.add(self.used) };
        self.used = end;
        Some((piece, true))
    }

    /// Takes a piece of this class back.
    fn give(&mut self, class: usize, place: usize, piece: NonNull<u8>) {
        let Some(list) = self.free.get_mut(class).filter(|_| place >= self.left) else {
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
        match self.piece(layout) {
            Some((piece, _)) => piece.as_ptr(),
            // SAFETY: the caller's promises.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.piece(layout) {
            Some((piece, true)) => piece.as_ptr(),
            Some((piece, false)) => {
                // SAFETY: it has that many bytes.
                unsafe { piece.write_bytes(0, layout.size()) };
                piece.as_ptr()
            }
            // SAFETY: the caller's promises. What is fresh from the kernel need not be cleared.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(place) = self.place(piece) else {
            // SAFETY: it is not ours, so `alloc` or `realloc` had it from there.
            return unsafe { System.dealloc(piece, layout) };
        };
        if let Some(piece) = NonNull::new(piece) {
            self.with(|state, _| state.give(class(layout.size()).0, place, piece));
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
    fn what_was_there_before_a_clone_is_neither_handed_out_again_nor_written_to_when_given_back() {
        static HEAP: Heap = Heap::new();
        let heap = &HEAP;
        let layout = Layout::from_size_align(100, 8).unwrap();
        // SAFETY: as above; a piece that was left to both stays readable.
        unsafe {
            let given = heap.alloc(layout);
            let kept = heap.alloc(layout);
            kept.write_bytes(7, 100);
            heap.dealloc(given, layout);
            heap.leave_to_both();
            let own = heap.alloc(layout);
            assert!(own != given && heap.place(own).unwrap().is_multiple_of(PAGE));
            heap.dealloc(kept, layout);
            assert_eq!(std::slice::from_raw_parts(kept, 100), [7; 100]);
            heap.dealloc(own, layout);
            assert_eq!(heap.alloc(layout), own);
        }
    }

    #[test]
    fn zeroed_pieces_are_zero_new_or_not() {
        static HEAP: Heap = Heap::new();
        let heap = &HEAP;
        let layout = Layout::from_size_align(LARGEST, 8).unwrap();
        // SAFETY: as above.
        unsafe {
            for _ in 0..2 {
                let piece = heap.alloc_zeroed(layout);
                assert!(heap.owns(piece));
                assert!(
                    std::slice::from_raw_parts(piece, LARGEST)
                        .iter()
                        .all(|byte| *byte == 0)
                );
                piece.write_bytes(9, LARGEST);
                heap.dealloc(piece, layout);
            }
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
