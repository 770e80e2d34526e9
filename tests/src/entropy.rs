//! Where the choices of a run come from.

use std::fmt;

use lock_proto::Seed;

/// Choices drawn from bytes that run out: the bytes are the schedule.
#[derive(Clone)]
pub struct Entropy {
    bytes: Vec<u8>,
    used: usize,
}

impl Entropy {
    /// Choices drawn from `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    /// `length` bytes that follow from `seed`.
    #[must_use]
    pub fn from_seed(seed: u64, length: usize) -> Self {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&seed.to_le_bytes());
        let mut numbers = Seed::from_bytes(start).jitter();
        Self::new((0..length).map(|_| numbers.next_u64().to_le_bytes()[7]).collect())
    }

    /// The bytes of all choices.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// One of `options` choices; `None` when the bytes have run out.
    pub fn choose(&mut self, options: usize) -> Option<usize> {
        let byte = *self.bytes.get(self.used)?;
        self.used += 1;
        Some(usize::from(byte) % options.max(1))
    }

    /// One of `options` choices; the first when the bytes have run out.
    pub fn pick(&mut self, options: usize) -> usize {
        self.choose(options).unwrap_or(0)
    }

    /// Whether something happens that has `chances` chances in 256. Never, when the
    /// bytes have run out, nor on a byte of 0.
    pub fn happens(&mut self, chances: usize) -> bool {
        self.choose(256).is_some_and(|byte| byte >= 256 - chances)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes used", self.used, self.bytes.len())
    }
}

/// Every sequence of choices, one after the other, as the digits of an odometer.
///
/// The run decides how many choices there are, each time it asks.
#[derive(Clone, Debug, Default)]
pub struct Odometer {
    digits: Vec<(usize, usize)>,
    position: usize,
    started: bool,
}

impl Odometer {
    /// Before the first sequence.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on to the next sequence; `false` after the last.
    pub fn next_run(&mut self) -> bool {
        self.position = 0;
        if !self.started {
            self.started = true;
            return true;
        }
        while let Some((digit, options)) = self.digits.pop() {
            if digit + 1 < options {
                self.digits.push((digit + 1, options));
                return true;
            }
        }
        false
    }

    /// One of `options` choices.
    pub fn choose(&mut self, options: usize) -> usize {
        if self.position == self.digits.len() {
            self.digits.push((0, options));
        }
        let (digit, known) = self.digits[self.position];
        assert_eq!(known, options, "a run must be a function of its choices");
        self.position += 1;
        digit
    }
}
