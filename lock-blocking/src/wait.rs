//! Waiting on a thread for what the engine tells a waker.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A thread that waits, or may.
struct Sleeper {
    thread: Thread,
    woken: AtomicBool,
    /// Where it sits; otherwise it is parked.
    bench: Mutex<Option<Arc<Bench>>>,
}

/// Where threads wait for answers that are to come together: one system call wakes all of them.
#[derive(Default)]
pub(crate) struct Bench {
    calling: Mutex<()>,
    called: Condvar,
}

thread_local! {
    static ME: OnceCell<(Arc<Sleeper>, Waker)> = const { OnceCell::new() };
    /// Where this thread is to wait next.
    static SEAT: Cell<Option<Arc<Bench>>> = const { Cell::new(None) };
    /// Whom this thread is to wake together.
    static GATHERED: RefCell<Option<Vec<Arc<Sleeper>>>> = const { RefCell::new(None) };
}

/// Runs `start`, whose caller waits for at most `timeout` for what comes of it, or for ever: what it
/// starts may be finished on this thread before this returns.
pub(crate) fn starting<T>(timeout: Option<Duration>, start: impl FnOnce() -> T) -> T {
    #[cfg(feature = "redis")]
    return crate::redis::errand(timeout, start);
    #[cfg(not(feature = "redis"))]
    {
        let _ = timeout;
        start()
    }
}

/// Waits until `poll` is ready.
pub(crate) fn wait<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let (me, waker) = this_thread();
    loop {
        me.begin();
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        me.sleep(None);
    }
}

/// Waits until `poll` is ready, and at most `timeout`.
pub(crate) fn wait_for<T>(
    timeout: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let started = Instant::now();
    let (me, waker) = this_thread();
    loop {
        me.begin();
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        me.sleep(Some(timeout.checked_sub(started.elapsed())?));
    }
}

/// Lets this thread wait on a bench, if it is about to wait.
#[cfg_attr(
    not(any(test, feature = "redis")),
    expect(dead_code, reason = "only Redis answers many at once")
)]
pub(crate) fn take_seat(bench: Arc<Bench>) {
    // A destructor may ask while the thread's own are already gone; then it is parked.
    let _ = SEAT.try_with(|seat| seat.set(Some(bench)));
}

/// Runs `answer`, and then wakes whom it would have woken on the way: a thread that was woken in the
/// middle would take the processor from who answers the others.
#[cfg_attr(
    not(any(test, feature = "redis")),
    expect(dead_code, reason = "only Redis answers many at once")
)]
pub(crate) fn gathering<T>(answer: impl FnOnce() -> T) -> T {
    let _gathering = Gathering(GATHERED.replace(Some(Vec::new())));
    answer()
}

/// Wakes on its way out, be it by a panic.
struct Gathering(Option<Vec<Arc<Sleeper>>>);

impl Drop for Gathering {
    fn drop(&mut self) {
        let mut benches: Vec<Arc<Bench>> = Vec::new();
        for sleeper in GATHERED.replace(self.0.take()).into_iter().flatten() {
            match sleeper.bench().clone() {
                Some(bench) if benches.iter().any(|known| Arc::ptr_eq(known, &bench)) => {}
                Some(bench) => benches.push(bench),
                None => sleeper.thread.unpark(),
            }
        }
        benches.iter().for_each(|bench| bench.call());
    }
}

impl Bench {
    fn call(&self) {
        // Whoever sits down either sees that it was woken, or is called.
        drop(self.calling());
        self.called.notify_all();
    }

    fn calling(&self) -> MutexGuard<'_, ()> {
        self.calling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleeper {
    /// Forgets what it was woken for and where it sat: what comes next is seen by a look.
    fn begin(&self) {
        self.woken.swap(false, Ordering::AcqRel);
        let _ = SEAT.try_with(Cell::take);
    }

    fn sleep(&self, timeout: Option<Duration>) {
        match (SEAT.try_with(Cell::take).ok().flatten(), timeout) {
            (Some(bench), timeout) => self.sit(&bench, timeout),
            // It may have woken itself, and its next park returns at once.
            (None, None) => {
                while !self.is_woken() {
                    thread::park();
                }
            }
            (None, Some(_)) if self.is_woken() => {}
            (None, Some(timeout)) => thread::park_timeout(timeout),
        }
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    fn sit(&self, bench: &Arc<Bench>, timeout: Option<Duration>) {
        *self.bench() = Some(Arc::clone(bench));
        let calling = bench.calling();
        let asleep = |_: &mut ()| !self.is_woken();
        match timeout {
            None => drop(bench.called.wait_while(calling, asleep)),
            Some(timeout) => drop(bench.called.wait_timeout_while(calling, timeout, asleep)),
        }
        *self.bench() = None;
    }

    fn rouse(&self) {
        match self.bench().clone() {
            Some(bench) => bench.call(),
            None => self.thread.unpark(),
        }
    }

    fn bench(&self) -> MutexGuard<'_, Option<Arc<Bench>>> {
        self.bench.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let gathered = GATHERED.try_with(|gathered| match &mut *gathered.borrow_mut() {
            Some(gathered) => {
                gathered.push(Arc::clone(self));
                true
            }
            None => false,
        });
        if !gathered.unwrap_or(false) {
            self.rouse();
        }
    }
}

/// What wakes this thread, made when it first waits.
fn this_thread() -> (Arc<Sleeper>, Waker) {
    let new = || {
        let woken = AtomicBool::new(false);
        let me = Arc::new(Sleeper { thread: thread::current(), woken, bench: Mutex::default() });
        (Arc::clone(&me), Waker::from(me))
    };
    // A destructor may wait while the thread's own are already gone.
    ME.try_with(|me| me.get_or_init(new).clone()).unwrap_or_else(|_| new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one thread waits for.
    #[derive(Default)]
    struct Answer(Mutex<(bool, Option<Waker>)>);

    impl Answer {
        fn give(&self) {
            let mut answer = self.0.lock().unwrap();
            answer.0 = true;
            let waker = answer.1.take();
            drop(answer);
            waker.into_iter().for_each(Waker::wake);
        }

        fn is_awaited(&self) -> bool {
            self.0.lock().unwrap().1.is_some()
        }

        fn poll(&self, cx: &Context<'_>) -> Poll<()> {
            let mut answer = self.0.lock().unwrap();
            answer.1 = Some(cx.waker().clone());
            if answer.0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    /// Waits for an answer on `bench`, if there is one; only the first look takes a seat, as only
    /// the first sends a request.
    fn await_on(bench: Option<&Arc<Bench>>, answer: &Answer) {
        let mut bench = bench.cloned();
        wait(|cx| {
            bench.take().into_iter().for_each(take_seat);
            answer.poll(cx)
        });
    }

    fn until(mut done: impl FnMut() -> bool) {
        while !done() {
            thread::yield_now();
        }
    }

    #[test]
    fn each_thread_on_a_bench_waits_for_its_own_answer() {
        let bench = Arc::default();
        let answers: [Answer; 4] = Default::default();
        thread::scope(|scope| {
            let waiting = answers.each_ref().map(|answer| {
                let bench = &bench;
                scope.spawn(move || await_on(Some(bench), answer))
            });
            until(|| answers.iter().all(Answer::is_awaited));
            for (answer, thread) in answers.iter().zip(waiting).rev() {
                assert!(!thread.is_finished());
                answer.give();
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn whom_a_thread_gathers_it_wakes_together_when_it_is_done() {
        let bench = Arc::default();
        let answers: [Answer; 4] = Default::default();
        thread::scope(|scope| {
            // Two on a bench, and two parked.
            let waiting: Vec<_> = (answers.iter().zip([Some(&bench), None].into_iter().cycle()))
                .map(|(answer, bench)| scope.spawn(move || await_on(bench, answer)))
                .collect();
            until(|| answers.iter().all(Answer::is_awaited));
            gathering(|| {
                answers.iter().for_each(Answer::give);
                GATHERED.with_borrow(|gathered| {
                    assert_eq!(gathered.as_ref().map(Vec::len), Some(answers.len()));
                });
            });
            waiting.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn who_is_gathered_is_woken_even_if_the_answer_panics() {
        let (bench, answer) = (Arc::default(), Answer::default());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| await_on(Some(&bench), &answer));
            until(|| answer.is_awaited());
            let panicked = scope.spawn(|| {
                gathering(|| {
                    answer.give();
                    panic!("a waker of somebody else");
                });
            });
            assert!(panicked.join().is_err());
            waiting.join().unwrap();
        });
    }

    #[test]
    fn an_answer_that_comes_before_its_thread_sits_down_is_not_missed() {
        let (bench, answer) = (Arc::default(), Answer::default());
        let mut looks = 0;
        wait(|cx| {
            looks += 1;
            take_seat(Arc::clone(&bench));
            let outcome = answer.poll(cx);
            gathering(|| answer.give());
            outcome
        });
        assert_eq!(looks, 2);
    }

    #[test]
    fn who_waits_on_a_bench_waits_no_longer_than_it_wanted() {
        let (bench, answer) = (Arc::default(), Answer::default());
        let mut seat = Some(bench);
        let waited = wait_for(Duration::from_millis(1), |cx| {
            seat.take().into_iter().for_each(take_seat);
            answer.poll(cx)
        });
        assert_eq!(waited, None);
    }
}
