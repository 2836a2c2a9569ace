// Package figures holds what was measured, and says it: as JSON, as a table, as a plot, and as docs/performance.md.
//
// It measures nothing and starts nothing. A [Report] is a value: the table, the plot and the page of one can be made
// again from its JSON, anywhere.
//
// Figures of a system are medians of its runs. Ratios are medians of the ratios within each round, in which the systems
// ran one after the other, so that a machine that gets slower does so for both. A run whose read-back found a difference
// is a failed run and counts nowhere. A run during which others took more than [MostOthers] of the machine counts only
// while its system has no quieter one, and then its figures carry a mark.
package figures
