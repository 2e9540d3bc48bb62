// Expands recurrence rules with rrule-temporal: one JSON case a line in, one JSON answer a line out.
//
// A case is {text, from, to}: iCalendar lines with a DTSTART, and a window in milliseconds since
// 1970. The answer is a list of starts from `from` up to, not including, `to`, or {error}.
import { createInterface } from "node:readline";
import { RRuleTemporal } from "rrule-temporal";

// Far more than two years of any rule here needs, and few enough to end soon.
const LIMITS = { maxIterations: 200_000, maxCandidateEvaluations: 5_000_000 };

function answer({ text, from, to }) {
  try {
    const rule = new RRuleTemporal({ rruleString: text, cache: false, ...LIMITS });
    const found = rule.between(new Date(from), new Date(to), true);
    return found.map((start) => start.epochMilliseconds).filter((start) => start < to);
  } catch (error) {
    return { error: String(error.message) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
}
