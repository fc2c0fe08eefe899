//! The program's first instructions, before those of the C library.
//!
//! What enters a container executes itself once more, from a read-only copy of its binary's mount ([`crate::init::exe`] says
//! why). A process that is about to be replaced needs no C library: preparing one costs more than everything else that
//! happens in it (each CPUID instruction, of which glibc executes some fifty, leaves a virtual machine). So the
//! replacement is done here, by four system calls on the stack that the kernel left, when the command line holds the
//! name of a command that enters a container.
//!
//! Nothing depends on it. Whatever is refused, here or on a machine of another architecture, is left to the ordinary
//! start and to [`crate::init::exe::protect`], which looks again and knows what to say.
//!
//! `build.rs` makes `minirun_entry` the binary's entry point. It follows the System V ABI of the process' start (argc,
//! argv and the environment on the stack, `rdx` for whoever comes next) and ends in the C library's `_start`.

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    r#"
    .pushsection .text.minirun_entry, "ax", @progbits
    .globl minirun_entry
    .type minirun_entry, @function
minirun_entry:
    mov r12, rdx
    mov r13, [rsp]                          # argc
    lea r14, [rsp + 8]                      # argv
    lea r15, [r14 + r13 * 8 + 8]            # the environment
    test r13, r13
    jz 90f

    # Is there `run`, `exec` or `create` among the arguments? Too often is harmless. Behind the last argument are
    # the environment's strings and eight bytes of zeros, so four bytes can always be read.
    mov rbx, r14
20: add rbx, 8
    mov rdi, [rbx]
    test rdi, rdi
    jz 90f
    mov eax, [rdi]
    cmp eax, {run}
    je 30f
    cmp eax, {exec}
    je 21f
    cmp eax, {crea}
    jne 20b
    cmp dword ptr [rdi + 3], {ate}
    jne 20b
    jmp 30f
21: cmp byte ptr [rdi + 4], 0
    jne 20b

    # The auxiliary vector, behind the environment, has the name by which the program was executed. For a descriptor
    # the kernel makes one up, /dev/fd/N: this is the copy already, or somebody else knows what he does.
30: mov rbx, r15
31: add rbx, 8
    cmp qword ptr [rbx - 8], 0
    jne 31b
32: mov rax, [rbx]
    test rax, rax                           # AT_NULL
    jz 40f
    add rbx, 16
    cmp rax, {AT_EXECFN}
    jne 32b
    mov rdi, [rbx - 8]
    mov rax, {dev_fd}
    cmp [rdi], rax
    je 90f

40: mov eax, {geteuid}
    syscall
    test eax, eax
    jnz 90f

    sub rsp, 48
    mov eax, {open_tree}
    mov edi, {AT_FDCWD}
    lea rsi, [rip + 91f]
    mov edx, {OPEN_TREE_CLONE_CLOEXEC}
    syscall
    test eax, eax
    js 80f
    mov ebp, eax

    mov qword ptr [rsp], {MOUNT_ATTR_RDONLY}   # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    mov qword ptr [rsp + 8], 0
    mov qword ptr [rsp + 16], 0
    mov qword ptr [rsp + 24], 0
    mov eax, {mount_setattr}
    mov edi, ebp
    lea rsi, [rip + 92f]
    mov edx, {AT_EMPTY_PATH}
    mov r10, rsp
    mov r8d, 32
    syscall
    test eax, eax
    js 70f

    mov eax, {execveat}
    mov edi, ebp
    lea rsi, [rip + 92f]
    mov rdx, r14
    mov r10, r15
    mov r8d, {AT_EMPTY_PATH}
    syscall

70: mov eax, {close}
    mov edi, ebp
    syscall
80: add rsp, 48
90: mov rdx, r12
    jmp _start

91: .asciz "/proc/self/exe"
92: .asciz ""
    .size minirun_entry, . - minirun_entry
    .popsection
    "#,
    run = const word(b"run\0"),
    exec = const word(b"exec"),
    crea = const word(b"crea"),
    ate = const word(b"ate\0"),
    geteuid = const libc::SYS_geteuid,
    open_tree = const libc::SYS_open_tree,
    mount_setattr = const libc::SYS_mount_setattr,
    execveat = const libc::SYS_execveat,
    close = const libc::SYS_close,
    AT_EXECFN = const libc::AT_EXECFN,
    dev_fd = const u64::from_le_bytes(*b"/dev/fd/"),
    AT_FDCWD = const libc::AT_FDCWD,
    AT_EMPTY_PATH = const libc::AT_EMPTY_PATH,
    OPEN_TREE_CLONE_CLOEXEC = const super::mount::OPEN_TREE_CLONE | super::mount::OPEN_TREE_CLOEXEC,
    MOUNT_ATTR_RDONLY = const super::mount::attribute::RDONLY,
);

/// Four bytes as one little-endian number.
#[cfg(target_arch = "x86_64")]
const fn word(bytes: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*bytes)
}
