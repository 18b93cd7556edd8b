//! Accounts: whether it pays to spin before going to sleep.
//!
//! Owns the rule, in nanoseconds that spinning has saved and cost; it reads no clock, and does not know who
//! spins. A wake-up takes a while, so a wait that is over sooner should not have slept. An account has the
//! balance of a waiter's last waits: the waiter spins as long as it has credit.
//!
//! * A spin that has found something earns what it saved: the cost of a sleep, less its own time. That may be
//!   a loss. A spin in vain loses all its time.
//! * A sleep that was so short that a spin would have been shorter earns what the spin would have saved. So a
//!   waiter whose waits become short begins to spin without a trial. Each spin that was longer than a whole
//!   wait with a sleep halves that: the two threads share a core, and one that spins keeps the other away.
//! * Any sleep earns a little, which pays for a trial now and then: two threads that wait for each other, and
//!   both sleep, never see a short wait, though they would answer each other at once if they did not. Each
//!   spin with a loss halves that, down to a sixteenth.
//! * A sleep costs no more than a whole wait with a sleep takes. The first wait sleeps, to measure it.
//!
//! So spinning costs at most what it has saved, apart from a few spins in a row when things change, and a
//! fraction of a microsecond for each sleep.

use std::time::Duration;

/// How long one spin may take, and how much it may save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The longest time that it takes.
    pub(crate) limit: Duration,
    /// The cost of a sleep, which a spin saves.
    pub(crate) worth: Duration,
    /// Whether the program has set it so, whatever a sleep costs.
    pub(crate) is_fixed: bool,
}

/// The time of an answer beside wake-ups, in both processes and in the kernel.
const WORK: Duration = Duration::from_micros(10);
/// The cost of a sleep beside the wake-up: two system calls, and the way back to the message.
const FALLING_ASLEEP: Duration = Duration::from_micros(5);
/// The longest spin by measurement.
const LONGEST: Duration = Duration::from_micros(100);

impl Terms {
    /// The terms if a wake-up takes `wake`. The limit is long enough for the first answer of a peer that
    /// sleeps, though that saves nothing: its second answer will come sooner.
    pub(crate) fn measured(wake: Duration) -> Self {
        let limit = (2 * wake + WORK).min(LONGEST);
        Self { limit, worth: wake + FALLING_ASLEEP, is_fixed: false }
    }

    /// The terms if the program sets the limit: anything found within `limit` is worth it.
    pub(crate) fn fixed(limit: Duration) -> Self {
        Self { limit, worth: limit, is_fixed: true }
    }
}

/// The largest credit pays for this many whole spins in vain in a row.
const CREDIT: i64 = 4;
/// The largest debt: the time of several slices in which another thread has the processor.
const DEBT: i64 = 20_000_000;
/// What a sleep earns at least, in nanoseconds.
const ALLOWANCE: i64 = 3200;
/// Halve that at most this often.
const HALVINGS: u32 = 4;
/// Halve the evidence of a short sleep at most this often.
const DOUBTS: u32 = 20;

/// The balance of a waiter.
#[derive(Debug, Default)]
pub(crate) struct Account {
    balance: i64,
    /// The number of spins with a loss since the last one with a gain.
    losses: u32,
    /// The number of spins that were longer than a whole wait with a sleep, since the last one that was not.
    doubts: u32,
    /// The mean time of a wait in which the waiter sleeps, once it is known.
    sleep: Option<i64>,
}

impl Account {
    /// Whether the next wait may spin: not before it is known what a wait with a sleep takes, unless that does
    /// not matter.
    pub(crate) fn has_credit(&self, terms: Terms) -> bool {
        self.balance >= 0 && (terms.is_fixed || self.sleep.is_some())
    }

    /// Books a spin that has found something after `time`, or has taken that long in vain. Returns whether it
    /// has paid.
    pub(crate) fn spun(&mut self, time: Duration, found: bool, terms: Terms) -> bool {
        let saved = if found { self.worth(terms) } else { 0 };
        let earned = saved.saturating_sub(nanoseconds(time));
        self.losses = if earned < 0 { self.losses.saturating_add(1) } else { 0 };
        let is_longer = self.sleep.is_some_and(|sleep| nanoseconds(time) > sleep);
        self.doubts = match (is_longer, found) {
            (true, _) => self.doubts.saturating_add(1),
            (false, true) => 0,
            (false, false) => self.doubts,
        };
        self.earn(earned, terms);
        earned >= 0
    }

    /// Books a wait of `time` in which the waiter has slept and not spun, and which ends with a wake-up that may
    /// have taken `wake`.
    pub(crate) fn slept(&mut self, time: Duration, wake: Duration, terms: Terms) {
        // Long waits count as hardly longer than any spin: short ones are soon seen behind them.
        let whole = nanoseconds(time.min(4 * LONGEST));
        self.sleep = Some(self.sleep.map_or(whole, |mean| (mean * 7 + whole) / 8));
        let until_woken = nanoseconds(time - wake.min(time / 2));
        let saved = self.worth(terms).saturating_sub(until_woken) >> self.doubts.min(DOUBTS);
        self.earn(saved.max(ALLOWANCE >> self.losses.min(HALVINGS)), terms);
    }

    /// The cost of a sleep for this waiter.
    fn worth(&self, terms: Terms) -> i64 {
        let worth = nanoseconds(terms.worth);
        self.sleep.filter(|_| !terms.is_fixed).map_or(worth, |sleep| sleep.min(worth))
    }

    fn earn(&mut self, earned: i64, terms: Terms) {
        let credit = CREDIT.saturating_mul(nanoseconds(terms.limit));
        self.balance = self.balance.saturating_add(earned).clamp(-DEBT, credit);
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAKE: Duration = us(20);
    const TERMS: Terms = Terms { limit: us(50), worth: us(25), is_fixed: false };

    const fn us(time: u64) -> Duration {
        Duration::from_micros(time)
    }

    /// A waiter on virtual time.
    #[derive(Default)]
    struct Waiter {
        account: Account,
        /// Whether it has spun in its last wait.
        spins: bool,
        spun: Duration,
    }

    impl Waiter {
        fn begin(&mut self) {
            self.spins = self.account.has_credit(TERMS);
        }

        /// The wait is over by something that has happened after `time`. Returns when it goes on.
        fn end(&mut self, time: Duration, terms: Terms) -> Duration {
            let found = self.spins && time <= terms.limit;
            if self.spins {
                let spun = time.min(terms.limit);
                self.spun += spun;
                self.account.spun(spun, found, terms);
            }
            if found {
                return time;
            }
            if !self.spins {
                self.account.slept(time + WAKE, WAKE, terms);
            }
            time + WAKE
        }

        fn wait(&mut self, time: Duration) {
            self.begin();
            self.end(time, TERMS);
        }
    }

    /// How many of `waits` that take `time` each are spun through or begun so.
    fn spins(waiter: &mut Waiter, waits: usize, time: Duration) -> usize {
        let spun = |_: &usize| {
            waiter.wait(time);
            waiter.spins
        };
        (0..waits).filter(spun).count()
    }

    #[test]
    fn measured_terms_let_one_that_sleeps_answer_and_end_at_a_tenth_of_a_millisecond() {
        let terms = Terms::measured(us(20));
        assert_eq!((terms.limit, terms.worth), (us(50), us(25)));
        assert_eq!(Terms::measured(us(1000)).limit, LONGEST);
        assert_eq!(Terms::fixed(us(7)), Terms { limit: us(7), worth: us(7), is_fixed: true });
    }

    #[test]
    fn a_bound_that_the_program_has_set_needs_no_measure() {
        assert!(Account::default().has_credit(Terms::fixed(us(10))));
        assert!(!Account::default().has_credit(TERMS));
    }

    #[test]
    fn short_waits_are_spun_through() {
        let mut waiter = Waiter::default();
        waiter.wait(us(10));
        assert_eq!(spins(&mut waiter, 1000, us(10)), 1000);
        assert_eq!(spins(&mut waiter, 1000, us(25)), 1000, "just worth it");
    }

    #[test]
    fn long_waits_are_tried_less_and_less_often() {
        let mut waiter = Waiter::default();
        let tried: Vec<_> = (0..4).map(|_| spins(&mut waiter, 250, us(10_000))).collect();
        assert_eq!(tried, [4, 1, 1, 1]);
        // 50 us for what 250 sleeps earn.
        assert!(spins(&mut waiter, 10_000, us(10_000)) <= 40);
    }

    /// A stream of ten thousand a second, whose messages take 10 us each, on machines slow and fast.
    #[test]
    fn a_paced_stream_is_hardly_spun_for() {
        for wake in [2, 5, 10, 20, 30, 40, 50, 100, 1000] {
            let terms = Terms::measured(us(wake.min(50)));
            let mut waiter = Waiter::default();
            for _ in 0..10_000 {
                waiter.begin();
                waiter.end(us(90), terms);
            }
            let share = waiter.spun.as_secs_f64();
            assert!(share < 0.006, "{share} of a second, where a wake-up takes {wake} us");
        }
    }

    /// A wait that becomes short is seen while it is slept through.
    #[test]
    fn who_has_given_up_begins_again_when_waits_become_short() {
        let mut waiter = Waiter::default();
        spins(&mut waiter, 10_000, us(10_000));
        assert!(spins(&mut waiter, 20, us(10)) >= 15);
    }

    #[test]
    fn who_spins_stops_after_a_few_spins_when_waits_become_long() {
        let mut waiter = Waiter::default();
        spins(&mut waiter, 1000, us(1));
        assert_eq!(spins(&mut waiter, 20, us(10_000)), 5);
    }

    /// Two answer each other in 10 us, and wait otherwise.
    #[test]
    fn two_that_wait_for_each_other_come_to_spin_both() {
        for given_up in [[0, 0], [10_000, 0], [0, 10_000], [10_000, 10_000]] {
            let [mut one, mut other] = given_up.map(|waits| {
                let mut waiter = Waiter::default();
                spins(&mut waiter, waits, us(10_000));
                waiter
            });
            // When the other has begun to wait, on the clock of the one that is awake.
            let mut since = Duration::ZERO;
            other.begin();
            let mut rounds = 0;
            while !(one.spins && other.spins && rounds > 10) {
                rounds += 1;
                assert!(rounds < 1000, "they never meet: {:?} {:?}", one.account, other.account);
                // One answers, and begins to wait; the other wakes from what it has waited for since then.
                since += us(10);
                one.begin();
                let awake = other.end(since, TERMS);
                since = awake - since;
                std::mem::swap(&mut one, &mut other);
            }
        }
    }

    /// Somebody else had the processor meanwhile: that outweighs many spins that pay.
    #[test]
    fn a_spin_that_lost_the_processor_is_paid_for_by_many_short_waits() {
        let mut waiter = Waiter::default();
        spins(&mut waiter, 1000, us(10));
        waiter.account.spun(us(3000), true, TERMS);
        assert_eq!(spins(&mut waiter, 200, us(10)), 0);
        assert!(spins(&mut waiter, 1000, us(10)) > 300);
    }

    /// Who sleeps is answered in 13 us, since the other has the core then; who spins keeps it away.
    #[test]
    fn who_shares_a_core_with_the_other_hardly_spins() {
        for (found, time) in [(true, us(22)), (false, us(50))] {
            let (mut account, mut spins) = (Account::default(), 0);
            for _ in 0..1000 {
                if account.has_credit(TERMS) {
                    account.spun(time, found, TERMS);
                    spins += 1;
                } else {
                    account.slept(us(13), WAKE, TERMS);
                }
            }
            assert!(spins < 40, "{spins}");
        }
    }

    #[test]
    fn no_time_is_too_long() {
        let mut waiter = Waiter::default();
        waiter.account.spun(Duration::MAX, false, TERMS);
        waiter.account.spun(Duration::MAX, true, Terms::fixed(Duration::MAX));
        waiter.account.slept(Duration::MAX, Duration::MAX, TERMS);
        assert!(!waiter.account.has_credit(TERMS));
    }
}
