//! A scrape of the admin listener, as much of Prometheus' text format as the tests need.

/// Samples of one scrape: name, labels as written, value.
#[derive(Debug)]
pub(crate) struct Metrics(Vec<(String, String, f64)>);

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(sample).collect())
    }

    /// Sum of all samples of a metric; the metric has to be there.
    #[track_caller]
    pub(crate) fn sum(&self, name: &str) -> f64 {
        assert!(self.0.iter().any(|(known, ..)| known == name), "no metric {name}: {:?}", self.0);
        self.with(name, "")
    }

    /// Sum of the samples whose labels contain a text such as `engine="ring"`.
    pub(crate) fn with(&self, name: &str, label: &str) -> f64 {
        let samples = self.0.iter().filter(|(n, labels, _)| n == name && labels.contains(label));
        samples.map(|(.., value)| value).sum()
    }
}

fn sample(line: &str) -> (String, String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    (name.to_owned(), labels.to_owned(), value.parse().unwrap())
}
