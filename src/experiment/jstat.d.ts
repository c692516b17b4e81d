/** What is used of jstat, which comes without types. */
declare module "jstat" {
  const jStat: {
    /** Student's t distribution. */
    readonly studentt: {
      cdf(t: number, degreesOfFreedom: number): number;
      inv(p: number, degreesOfFreedom: number): number;
    };
  };
  export default jStat;
}
