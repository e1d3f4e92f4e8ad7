//! Work that nobody waits for at this moment.

/// How far back it steps: a tenth of the processor's time where others want all of it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Has this thread, and those that it starts from now on, leave the processor to others who want it: passages are analysed
/// and segments merged in whatever time answering leaves. Where that cannot be had it goes without.
pub(crate) fn step_back() {
    // On Linux this is about the calling thread alone, as it is not elsewhere.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}
