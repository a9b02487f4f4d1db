//! How the system's allocator keeps memory that is free. A large run is built on one thread and dropped on another; with
//! an arena for each thread, up to eight for each core, what it leaves behind was given back late or not at all.

/// As many arenas on every machine: glibc takes eight for each core. Fewer give more back, and cost more than they give
/// (measured on two cores, workflows a second: 2 arenas 12 % fewer, 4 arenas 5 % fewer, 8 as many as before).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 8;
/// What is larger has pages of its own, which are given back when it is freed. glibc raises this to 32 MiB as large
/// pieces are freed; once set it stays.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES_BYTES: i32 = 1024 * 1024;
/// So much that is free at the end of an arena is kept. glibc raises it to twice the other; once set it stays.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 8 * 1024 * 1024;

/// Settles it, before there are threads; whoever starts the process can settle it otherwise, with `MALLOC_ARENA_MAX` and the
/// other variables of glibc. Whether it was settled here.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "only a call of the C library sets this")]
pub(crate) fn settle() -> bool {
    const OTHERWISE: [&str; 4] =
        ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"];
    if OTHERWISE.into_iter().any(|name| std::env::var_os(name).is_some()) {
        return false;
    }
    let wanted =
        [(libc::M_ARENA_MAX, ARENAS), (libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES)];
    // SAFETY: the call takes two numbers, and sets the allocator under its own lock.
    wanted.into_iter().all(|(what, value)| unsafe { libc::mallopt(what, value) } == 1)
}

/// Other allocators are left as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn settle() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    fn the_allocator_takes_what_it_is_told() {
        let otherwise = ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"];
        let is_set = otherwise.into_iter().any(|name| std::env::var_os(name).is_some());
        assert_eq!(super::settle(), !is_set);
    }
}
