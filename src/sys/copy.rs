//! memcpy(3) and memmove(3) for binaries with musl on x86-64.
//!
//! musl copies everything with `rep movsq`, which takes some fifty nanoseconds to get going, and most of what this program copies is
//! shorter than a line of text: of the 1,600 copies of one `run`, nine in ten. Where the C library is another one, its own are
//! used; these are only tested.
//!
//! Both follow the System V ABI: destination in `rdi`, source in `rsi`, bytes in `rdx`; the destination is returned in `rax`.

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    r#"
    .pushsection .text.minirun_memmove, "ax", @progbits
    .globl minirun_memmove
    .type minirun_memmove, @function
minirun_memmove:
    # Only a destination that begins within the source has to be filled from its end.
    mov rax, rdi
    sub rax, rsi
    cmp rax, rdx
    jb 50f
    .size minirun_memmove, . - minirun_memmove

    .globl minirun_memcpy
    .type minirun_memcpy, @function
minirun_memcpy:
    mov rax, rdi
    cmp rdx, 16
    jb 20f
    cmp rdx, 32
    ja 40f

    # Here and below: all is read before anything is written, the first bytes and the last, which may be the same ones.
10: movups xmm0, [rsi]
    movups xmm1, [rsi + rdx - 16]
    movups [rdi], xmm0
    movups [rdi + rdx - 16], xmm1
    ret

20: cmp edx, 8
    jb 21f
    mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
21: cmp edx, 4
    jb 22f
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
22: test edx, edx
    je 23f
    mov r9, rdx
    shr r9, 1
    movzx ecx, byte ptr [rsi]
    movzx r10d, byte ptr [rsi + r9]
    movzx r8d, byte ptr [rsi + rdx - 1]
    mov [rdi], cl
    mov [rdi + r9], r10b
    mov [rdi + rdx - 1], r8b
23: ret

    # More than 32: the last 32 are read first and written last, whatever the rest is a multiple of.
40: movups xmm2, [rsi + rdx - 32]
    movups xmm3, [rsi + rdx - 16]
    lea r8, [rdi + rdx - 32]
41: movups xmm0, [rsi]
    movups xmm1, [rsi + 16]
    add rsi, 32
    movups [rdi], xmm0
    movups [rdi + 16], xmm1
    add rdi, 32
    cmp rdi, r8
    jb 41b
    movups [r8], xmm2
    movups [r8 + 16], xmm3
    ret

    # The same backwards.
50: mov rax, rdi
    cmp rdx, 16
    jb 20b
    cmp rdx, 32
    jbe 10b
    movups xmm2, [rsi]
    movups xmm3, [rsi + 16]
    lea r8, [rdi + 32]
    lea r9, [rdi + rdx]
    add rsi, rdx
51: movups xmm0, [rsi - 32]
    movups xmm1, [rsi - 16]
    sub rsi, 32
    movups [r9 - 32], xmm0
    movups [r9 - 16], xmm1
    sub r9, 32
    cmp r9, r8
    ja 51b
    movups [rdi], xmm2
    movups [rdi + 16], xmm3
    ret
    .size minirun_memcpy, . - minirun_memcpy
    .popsection
    "#
);

#[cfg(all(target_arch = "x86_64", target_env = "musl"))]
std::arch::global_asm!(
    r#"
    .globl memcpy
    .set memcpy, minirun_memcpy
    .globl memmove
    .set memmove, minirun_memmove
    "#
);

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    unsafe extern "C" {
        fn minirun_memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
        fn minirun_memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    }

    proptest! {
        #[test]
        fn a_copy_is_its_source_and_nothing_around_it_changes(
            bytes in prop_oneof![0_usize..70, 0_usize..5000],
            from in 0_usize..40,
            to in 0_usize..40,
        ) {
            let source: Vec<u8> = (0..5040_u32).map(|number| (number * 7 % 251) as u8).collect();
            let mut copy = vec![255; 5040];
            // SAFETY: both have 5040 bytes, at least 40 more than are copied, and are different.
            let returned = unsafe { minirun_memcpy(copy[to..].as_mut_ptr(), source[from..].as_ptr(), bytes) };
            prop_assert_eq!(returned.cast_const(), copy[to..].as_ptr());
            prop_assert!(copy[..to].iter().chain(&copy[to + bytes..]).all(|byte| *byte == 255));
            prop_assert_eq!(&copy[to..to + bytes], &source[from..from + bytes]);
        }

        #[test]
        fn what_overlaps_is_moved_as_the_standard_library_moves_it(
            bytes in prop_oneof![0_usize..70, 0_usize..5000],
            from in 0_usize..80,
            to in 0_usize..80,
        ) {
            let mut ours: Vec<u8> = (0..5080_u32).map(|number| (number * 7 % 251) as u8).collect();
            let mut theirs = ours.clone();
            theirs.copy_within(from..from + bytes, to);
            let start = ours.as_mut_ptr();
            // SAFETY: it has 5080 bytes, at least 80 more than are moved.
            unsafe { minirun_memmove(start.add(to), start.add(from), bytes) };
            prop_assert_eq!(ours, theirs);
        }
    }
}
