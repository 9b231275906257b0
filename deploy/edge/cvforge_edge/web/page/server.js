// Asks the device, with a limit to how long an answer may take.

const ANSWER_WITHIN_MS = 5000;

export class LoggedOut extends Error {}

export async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS), cache: "no-store" });
  if (answer.status === 401) throw new LoggedOut();
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

export async function askJson(path) {
  return (await ask(path)).json();
}

export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
